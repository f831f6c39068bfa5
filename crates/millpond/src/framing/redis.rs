//! Redis' protocol: where its frames begin and end.

#![cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "the preset that uses it comes next"
    )
)]

mod arguments;
mod elements;
mod resp;
