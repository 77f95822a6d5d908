//! A program that installs no poster: its first report starts one by itself.

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
    println!("threads of a poster: {}", threads_of_a_poster());
    Ok(())
}

/// Where the system tells.
fn threads_of_a_poster() -> usize {
    let names = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    names
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("postback"))
        .count()
}
