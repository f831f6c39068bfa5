//! The size of a connection's future, which can be measured only from inside.

use super::*;
use crate::server::{accepting::Serve, ledger::ConnectionPermit, raw};
use bytes::Bytes;

#[test]
fn an_idle_connection_costs_little() {
    fn size_of_future<F: Framing, H: ConnectionHandler>(_: &H, _: &F) -> (usize, usize) {
        let make = |service: &'static Arc<Service<F, H>>,
                    (stream, permit): (Stream, &'static mut ConnectionPermit)| {
            service.serve(stream, None, permit)
        };
        (size_of_output(&make), size_of::<Stream>())
    }
    fn size_of_output<'a, A, B, Out>(_: &impl Fn(&'a A, B) -> Out) -> usize
    where
        A: 'a,
    {
        size_of::<Out>()
    }
    let handler = raw(async |body: Bytes| Ok(body));
    let (future, stream) = size_of_future(&handler, &crate::framing::LengthJson::default());
    println!("a connection's future: {future} bytes, of which its stream is {stream}");
    assert!(future - stream <= 800, "{future} bytes");
}
