#[postback::main(worker_threads = 0)]
async fn app() -> u8 {
    1
}
