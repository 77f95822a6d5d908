//! A program that installs no poster. Its first report starts a poster automatically.

use std::time::Duration;

use postback::async_handler;

#[async_handler(webhook = url)]
async fn work(url: &str, request_id: u32) -> Result<u32, String> {
    Ok(request_id * 2)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let url = std::env::args().nth(1).ok_or("usage: bare WEBHOOK_URL")?;
    for n in 1..=3 {
        println!("returned {}", work(&url, n).await?);
    }
    println!("flushed: {}", postback::flush(Duration::from_secs(30)).await);
    println!("threads of a poster: {}", poster_threads());
    Ok(())
}

/// The number of threads of this process that belong to a poster. On systems without `/proc` it is 0.
fn poster_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    names
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("postback"))
        .count()
}
