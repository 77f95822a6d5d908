#[postback::main(threads = 4)]
fn app(_settings: String, _more: String) {}
