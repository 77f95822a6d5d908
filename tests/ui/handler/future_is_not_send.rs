use std::rc::Rc;

use postback::{RequestId, debug_handler};

#[debug_handler]
async fn count(_id: RequestId) -> Result<usize, String> {
    let kept = Rc::new(1);
    std::future::ready(()).await;
    Ok(*kept)
}

fn main() {}
