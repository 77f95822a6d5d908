//! A program that installs a poster and forks. The poster stays with the parent. The child may install another poster.

use std::io::Read as _;
use std::time::Duration;

use fork::{Fork, fork, waitpid};
use postback::{Poster, Report, async_handler};

const LONG: Duration = Duration::from_secs(30);

#[async_handler(webhook = url)]
async fn work(url: &str, request_id: &str) -> Result<u32, String> {
    Ok(2)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let mut arguments = std::env::args().skip(1);
    let (url, file) = arguments.next().zip(arguments.next()).ok_or("usage: forked WEBHOOK_URL FILE")?;
    let guard = Poster::builder().sqlite(&file).trust(&url).install()?;
    let poster = guard.poster();
    poster.post(&url, &Report::failed("before"))?;
    // The first report is delivered before the fork, so that no delivery is in progress during the fork.
    until_delivered(&poster, 1);
    match fork()? {
        Fork::Child => {
            let error = poster.post(&url, &Report::failed("refused")).expect_err("the poster belongs to the parent");
            println!("the child's post is forked: {}: {error}", error.is_forked());
            let error = block_on(poster.post_durably(&url, &Report::failed("refused")))?
                .expect_err("the poster belongs to the parent");
            println!("and durably: {error}");
            println!("the child's call returned {}", block_on(work(&url, "lost"))??);
            println!("the child flushed: {}", poster.flush_blocking(LONG));
            drop(guard);
            let own = Poster::builder().trust(&url).install()?;
            println!("the child's call returned {}", block_on(work(&url, "of the child"))??);
            println!("the child's own: {}", block_on(own.shutdown(LONG))?);
        }
        Fork::Parent(child) => {
            let status = waitpid(child)?;
            println!("the child ended with {status}");
            poster.post(&url, &Report::failed("after"))?;
            until_delivered(&poster, 2);
            println!("the parent: {}", block_on(guard.shutdown(LONG))?);
            beside_a_child_that_lives_on(&url, &format!("{file}.2"))?;
        }
    }
    Ok(())
}

/// A child that lives on without touching the poster does not keep its file locked.
fn beside_a_child_that_lives_on(url: &str, file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (poster, guard) = Poster::builder().sqlite(file).trust(url).start()?;
    poster.post(url, &Report::failed("beside"))?;
    until_delivered(&poster, 1);
    let (mut closed, open) = std::io::pipe()?;
    match fork()? {
        Fork::Child => {
            drop(open);
            // The child waits until the parent closes its end of the pipe, or has ended.
            closed.read_to_end(&mut Vec::new())?;
            std::process::exit(0);
        }
        Fork::Parent(child) => {
            println!("the first: {}", block_on(guard.shutdown(LONG))?);
            let (_, again) = Poster::builder().sqlite(file).trust(url).start()?;
            println!("the second, beside the child: {}", block_on(again.shutdown(LONG))?);
            drop(open);
            waitpid(child)?;
        }
    }
    Ok(())
}

/// Flushes until this number of reports is delivered. If the poster has a file, one flush does not wait for deliveries.
fn until_delivered(poster: &Poster, reports: u64) {
    while poster.flush_blocking(LONG).delivered < reports {
        std::thread::yield_now();
    }
}

fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
