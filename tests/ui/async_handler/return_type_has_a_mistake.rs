//! The mistake causes the plain function's error, and one more error at the type, for the generated code.
use postback::async_handler;

struct Copied<T: Copy>(T);

async fn plain() -> Result<Copied<String>, String> {
    todo!()
}

#[async_handler(webhook = None::<&str>, request_id = 1, result = false)]
async fn annotated() -> Result<Copied<String>, String> {
    todo!()
}

async fn plain_unsized() -> Result<str, String> {
    todo!()
}

#[async_handler(webhook = None::<&str>, request_id = 1, result = false)]
async fn annotated_unsized() -> Result<str, String> {
    todo!()
}

fn main() {}
