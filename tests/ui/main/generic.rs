#[postback::main]
async fn app<S>(settings: S) -> Result<S, ()> {
    Ok(settings)
}
