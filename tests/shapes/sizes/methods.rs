//! Measures the futures of inherent methods and of `#[async_trait]` methods.

use std::sync::Arc;

use async_trait::async_trait;
use postback::async_handler;
use tokio::task::yield_now;

use super::{ARRAY, Array, BIG, Big, Url};

/// The size of a method's future without the attribute and with it. The method's type has two arrays of 1024 bytes.
macro_rules! sizes_of_method {
    ($value:expr, ($($attribute:tt)*), $($method:tt)*) => {{
        let plain = {
            struct Big { a: Array, b: Array, url: Url }
            impl Big { $($method)* }
            const BIG: Big = Big { a: [0; 1024], b: [0; 1024], url: None };
            size_of_val(&*$value(BIG))
        };
        let annotated = {
            struct Big { a: Array, b: Array, url: Url }
            impl Big { #[async_handler($($attribute)*)] $($method)* }
            const BIG: Big = Big { a: [0; 1024], b: [0; 1024], url: None };
            size_of_val(&*$value(BIG))
        };
        (plain, annotated)
    }};
}

pub(super) fn of_methods() -> Vec<(&'static str, (usize, usize))> {
    vec![
        (
            "self",
            sizes_of_method!(
                |big: Big| Box::new(big.f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(self) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        (
            "mut self, one field in use",
            sizes_of_method!(
                |big: Big| Box::new(big.f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(mut self) -> Result<u8, ()> {
                    self.b[0] = 1;
                    yield_now().await;
                    Ok(self.b[0] + u8::from(self.url.is_some()) + self.a[0])
                }
            ),
        ),
        (
            "self, no await",
            sizes_of_method!(
                |big: Big| Box::new(big.f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(self) -> Result<u8, ()> {
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        (
            "&self",
            sizes_of_method!(
                |big: Big| Box::new(Box::leak(Box::new(big)).f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(&self) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        (
            "&mut self",
            sizes_of_method!(
                |big: Big| Box::new(Box::leak(Box::new(big)).f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(&mut self) -> Result<&mut u8, ()> {
                    self.b[0] = self.a[0] + u8::from(self.url.is_some());
                    yield_now().await;
                    Ok(&mut self.b[0])
                }
            ),
        ),
        (
            "self: Arc",
            sizes_of_method!(
                |big: Big| Box::new(Arc::new(big).f()),
                (webhook = self.url, request_id = self.a[0]),
                async fn f(self: Arc<Self>) -> Result<u8, ()> {
                    yield_now().await;
                    Ok(self.a[0] + self.b[0] + u8::from(self.url.is_some()))
                }
            ),
        ),
        ("async_trait", (size_of_val(&*BIG.plain(ARRAY)), size_of_val(&*BIG.annotated(ARRAY)))),
        ("async_trait, no await", (size_of_val(&*BIG.plain_alone(ARRAY)), size_of_val(&*BIG.annotated_alone(ARRAY)))),
    ]
}

#[async_trait]
trait Read {
    async fn plain(&self, a: Array) -> Result<u8, ()>;
    async fn annotated(&self, a: Array) -> Result<u8, ()>;
    async fn plain_alone(&self, a: Array) -> Result<u8, ()>;
    async fn annotated_alone(&self, a: Array) -> Result<u8, ()>;
}

#[async_trait]
impl Read for Big {
    async fn plain(&self, a: Array) -> Result<u8, ()> {
        yield_now().await;
        Ok(self.a[0] + a[0])
    }

    #[async_handler(webhook = None::<&str>, request_id = a[0])]
    async fn annotated(&self, a: Array) -> Result<u8, ()> {
        yield_now().await;
        Ok(self.a[0] + a[0])
    }

    async fn plain_alone(&self, a: Array) -> Result<u8, ()> {
        Ok(self.a[0] + a[0])
    }

    #[async_handler(webhook = None::<&str>, request_id = a[0])]
    async fn annotated_alone(&self, a: Array) -> Result<u8, ()> {
        Ok(self.a[0] + a[0])
    }
}
