#[postback::main(worker_thread = 4, flavor = "current_thread")]
async fn app() -> u8 {
    1
}
