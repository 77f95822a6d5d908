use std::rc::Rc;

use postback::{App, RequestId};

async fn count(_id: RequestId) -> Result<usize, String> {
    let kept = Rc::new(1);
    std::future::ready(()).await;
    Ok(*kept)
}

fn app() -> App<()> {
    App::new(()).route("/count", count)
}

fn main() {}
