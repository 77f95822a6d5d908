use postback::{RequestId, debug_handler};

struct Model;

impl Model {
    #[debug_handler]
    async fn ask(_id: RequestId) -> Result<usize, String> {
        Ok(1)
    }
}

fn main() {
    let _ = Model;
}
