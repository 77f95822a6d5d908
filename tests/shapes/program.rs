//! Tests `#[postback::main]` under its imported name `main`, and calls the annotated function like any other function.

mod named {
    use postback::{App, main};

    #[main]
    pub(super) async fn app(number: u8) -> App<u8> {
        App::new(number)
    }

    pub(super) const fn generated() -> fn() -> std::process::ExitCode {
        main
    }
}

mod called_main {
    use postback::{App, main};

    #[main(worker_threads = 2)]
    async fn main() -> Result<App<()>, std::fmt::Error> {
        Ok(App::new(()))
    }

    pub(super) const fn generated() -> fn() -> std::process::ExitCode {
        main
    }
}

#[tokio::test]
async fn the_function_stays_and_a_main_is_beside_or_around_it() {
    let _: postback::App<u8> = named::app(1).await;
    let mains = [named::generated(), called_main::generated()];
    assert_eq!(mains.len(), 2);
}
