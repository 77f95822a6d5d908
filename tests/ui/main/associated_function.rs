struct Workload;

impl Workload {
    #[postback::main]
    async fn app() -> postback::App<()> {
        postback::App::new(())
    }
}

fn main() {}
