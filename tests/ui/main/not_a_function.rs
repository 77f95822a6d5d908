#[postback::main]
struct App;
