use postback::{App, RequestId};

async fn number(_id: RequestId) -> u8 {
    1
}

fn app() -> App<()> {
    App::new(()).route("/number", number)
}

fn main() {}
