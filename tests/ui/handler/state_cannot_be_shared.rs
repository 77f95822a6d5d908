use std::cell::Cell;

use postback::{State, debug_handler};

#[debug_handler]
async fn count(counter: State<Cell<u64>>) -> Result<u64, String> {
    Ok(counter.get())
}

fn main() {}
