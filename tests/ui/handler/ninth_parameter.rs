use postback::{RequestId, State, debug_handler};

#[debug_handler]
async fn much(
    _: State<u8>,
    _: State<u16>,
    _: State<u32>,
    _: State<u64>,
    _: State<i8>,
    _: State<i16>,
    _: State<i32>,
    _: State<i64>,
    _ninth: State<String>,
    _: RequestId,
) -> Result<(), String> {
    Ok(())
}

fn main() {}
