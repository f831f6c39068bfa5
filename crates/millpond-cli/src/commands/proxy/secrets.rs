//! What a route sends to log in: a text with places for secrets, which are filled in from files and
//! environment variables. No error of these says what a secret is.

use std::{env, fs::File, io::Read, os::unix::ffi::OsStringExt};

/// The longest file with a secret.
const LONGEST: u64 = 64 * 1024;

/// The text with `${file:PATH}` and `${env:NAME}` replaced by what is there. `$${` stands for `${`.
pub(super) fn filled(template: &[u8]) -> Result<Vec<u8>, String> {
    let mut filled = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.windows(2).position(|two| two == b"${") {
        let (before, place) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix(b"$") {
            filled.extend_from_slice(before);
            filled.extend_from_slice(b"${");
            rest = place;
            continue;
        }
        filled.extend_from_slice(before);
        let end = place.iter().position(|&byte| byte == b'}');
        let end = end.ok_or("a ${ without its }; $${ stands for the text ${")?;
        let named = std::str::from_utf8(&place[..end]).unwrap_or_default();
        filled.extend(secret(named).map_err(|error| format!("${{{named}}}: {error}"))?);
        rest = &place[end + 1..];
    }
    filled.extend_from_slice(rest);
    Ok(filled)
}

fn secret(named: &str) -> Result<Vec<u8>, String> {
    match named.split_once(':') {
        Some(("env", name)) => env::var_os(name)
            .map(OsStringExt::into_vec)
            .ok_or_else(|| String::from("this environment variable isn't set")),
        Some(("file", path)) => {
            let mut bytes = Vec::new();
            File::open(path)
                .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
                .map_err(|error| error.to_string())?;
            if bytes.len() as u64 > LONGEST {
                return Err(String::from("it is longer than 64 KiB"));
            }
            // Editors end a file with a line's end.
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
                bytes.pop_if(|byte| *byte == b'\r');
            }
            Ok(bytes)
        }
        _ => Err(String::from("write ${file:PATH} or ${env:NAME}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_filled_in_where_its_place_is() {
        let file = env::temp_dir().join(format!("millpond-secret-{}", std::process::id()));
        std::fs::write(&file, "sesame\r\n").expect("written");
        let template = format!("AUTH ${{file:{}}} $${{x}} $1", file.display());
        let filled_in = filled(template.as_bytes()).expect("it is there");
        assert_eq!(filled_in, b"AUTH sesame ${x} $1");
        std::fs::remove_file(&file).expect("removed");
        for (wrong, said) in [
            ("${env:MILLPOND_IS_NEVER_SET}", "isn't set"),
            ("${file:/nowhere/at/all}", "${file:/nowhere/at/all}: "),
            ("${PASSWORD}", "write ${file:PATH}"),
            ("${env:", "without its }"),
        ] {
            let told = filled(wrong.as_bytes()).expect_err(wrong);
            assert!(told.contains(said), "{told}");
        }
        let path = env::var_os("PATH").expect("it is set");
        assert_eq!(filled(b"${env:PATH}"), Ok(path.into_vec()));
    }
}
