//! Modbus with requests that are made at random: a device answers what is their reply, whatever is
//! changed in it panics nowhere, and frames are found however they are cut.

use fastrand::Rng;
use millpond::framing::{Answer, Context, Frame, Framing, Modbus, Note, Protocol, conformance};

/// A request that its function allows.
fn random_request(random: &mut Rng) -> Vec<u8> {
    let function = random.u8(1..=0x2C);
    let address = random.u16(..).to_be_bytes();
    let of = |random: &mut Rng, most: u16| random.u16(1..=most);
    let bytes = |random: &mut Rng, length: usize| -> Vec<u8> {
        std::iter::repeat_with(|| random.u8(..))
            .take(length)
            .collect()
    };
    let mut data = address.to_vec();
    match function {
        0x01 | 0x02 => data.extend(of(random, 2_000).to_be_bytes()),
        0x03 | 0x04 => data.extend(of(random, 125).to_be_bytes()),
        0x05 => data.extend([[0, 0], [0xFF, 0]][random.usize(..2)]),
        0x06 => data.extend(bytes(random, 2)),
        0x07 | 0x0B | 0x0C | 0x11 => data.clear(),
        0x0F => {
            let quantity = of(random, 1_968);
            let length = usize::from(quantity).div_ceil(8);
            data.extend(quantity.to_be_bytes());
            data.push(length as u8);
            data.extend(bytes(random, length));
        }
        0x10 => {
            let quantity = of(random, 123);
            data.extend(quantity.to_be_bytes());
            data.push(2 * quantity as u8);
            data.extend(bytes(random, 2 * usize::from(quantity)));
        }
        0x14 | 0x15 => {
            let length = 7 * random.u8(2..30);
            data = [vec![length], bytes(random, length.into())].concat();
        }
        0x16 => data.extend(bytes(random, 4)),
        0x17 => {
            let written = of(random, 121);
            data.extend(of(random, 125).to_be_bytes());
            data.extend(bytes(random, 2));
            data.extend(written.to_be_bytes());
            data.push(2 * written as u8);
            data.extend(bytes(random, 2 * usize::from(written)));
        }
        0x18 => {}
        _ => {
            let length = random.usize(..200);
            data.extend(bytes(random, length));
        }
    }
    [vec![random.u8(..), function], data].concat()
}

#[test]
fn a_plain_device_answers_what_is_a_reply_and_frames_are_found_however_they_are_cut() {
    let modbus = Protocol::from(Modbus::default());
    let mut random = Rng::with_seed(1);
    let mut wire = Vec::new();
    for _ in 0..2_000 {
        let body = random_request(&mut random);
        let begins = wire.len();
        let encoded = modbus.encode(Context::REQUEST, &body, &mut wire);
        encoded.expect("short");
        let request = wire[begins..].to_vec();
        let frame = Frame::parse(&modbus, Context::REQUEST, request).expect("one frame");
        let demand = modbus.demand(frame.as_bytes(), &Note::default());
        assert_eq!(demand.refusal(), None, "{body:?}");
        let [reply] = &modbus.echo(&frame).expect("it is right")[..] else {
            panic!("one reply");
        };
        let mut out = Vec::new();
        let encoded = modbus.encode(Context::REPLY, reply, &mut out);
        encoded.expect("short");
        let answer = modbus.answers(Some(demand.note()), &out, &mut Note::default());
        assert_eq!(answer, Answer::Last, "{body:?} {reply:?}");
        // Nothing panics, whatever the bytes.
        for _ in 0..10 {
            let at = random.usize(6..out.len());
            out[at] ^= 1 << random.u8(..8);
            modbus.answers(
                Some(demand.note()),
                &out[..random.usize(..=out.len())],
                &mut Note::default(),
            );
            let _ = modbus.demand(&out[..random.usize(..=out.len())], &Note::default());
        }
        if wire.len() > 2_000 {
            conformance::check(&modbus, Context::REQUEST, &wire).expect("the contract");
            wire.clear();
        }
    }
    conformance::check_encode(&modbus, Context::REPLY, &[1, 7, 0]).expect("the contract");
}
