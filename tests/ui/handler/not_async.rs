use postback::debug_handler;

#[debug_handler]
fn count() -> Result<usize, String> {
    Ok(1)
}

fn main() {}
