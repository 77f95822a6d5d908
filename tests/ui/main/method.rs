struct Workload;

impl Workload {
    #[postback::main]
    async fn app(self) -> postback::App<()> {
        postback::App::new(())
    }
}

fn main() {}
