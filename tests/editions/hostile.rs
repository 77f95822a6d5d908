//! The attribute where everything that generated code might name means something else, in each edition: the packages
//! beside this file share it.
//!
//! The lints that an `allow` of ours could run into are forbidden, not only denied.

#![deny(warnings)]
#![forbid(unsafe_code, missing_docs, unused, unreachable_code, unused_braces, unused_qualifications, rust_2018_idioms)]
#![cfg_attr(not(test), forbid(clippy::all, clippy::pedantic, clippy::nursery))]

/// Nothing in here means what it usually does.
#[no_implicit_prelude]
pub mod hostile {
    /// Not the crate.
    pub mod core {}
    /// Not the crate.
    pub mod std {}
    /// Not the crate.
    pub mod alloc {}
    /// Not the crate.
    pub mod postback {
        /// Not the module.
        pub mod __private {}
    }

    /// Not the variant.
    pub struct Ok;
    /// Not the variant.
    pub struct Err;
    /// Not the variant.
    pub struct Some;
    /// Not the variant.
    pub struct None;
    /// Not the type.
    pub struct Box;
    /// Not the type.
    pub struct String;
    /// Not the type.
    pub enum Option {}
    /// Not the trait.
    pub trait Send {}
    /// Not the trait.
    pub trait Future {}
    /// Not the trait.
    pub trait FnOnce {}
    /// Not the trait.
    pub trait Display {}
    /// Of its own kind.
    pub type Result<T> = ::core::result::Result<T, ()>;

    /// Not the macros.
    #[macro_export]
    macro_rules! vec {
        ($($any:tt)*) => {
            ::core::compile_error!("generated code names a macro")
        };
    }
    /// Not the macros.
    #[macro_export]
    macro_rules! format_args {
        ($($any:tt)*) => {
            ::core::compile_error!("generated code names a macro")
        };
    }

    /// The pattern's own.
    pub struct Config {
        /// Where reports go.
        pub webhook_url: ::std::string::String,
    }

    /// Names in it are the generated code's own.
    ///
    /// # Errors
    /// Of zero.
    #[::postback::async_handler(webhook = config.webhook_url, request_id = __call)]
    pub async fn free(config: Config, __call: &str, __returned: u8) -> Result<u8> {
        ::core::mem::drop(config);
        ::core::future::ready(()).await;
        if __returned == 0 {
            return ::core::result::Result::Err(());
        }
        ::core::result::Result::Ok(__returned)
    }

    impl Config {
        /// A method.
        ///
        /// # Errors
        /// None.
        #[::postback::async_handler(webhook = "self.webhook_url")]
        pub async fn method(&mut self, request_id: &str, r#gen: u8) -> Result<u8> {
            self.webhook_url.clear();
            ::core::future::ready(()).await;
            ::core::result::Result::Ok(r#gen)
        }

        /// A future.
        #[must_use]
        #[::postback::async_handler(webhook = self.webhook_url)]
        pub fn future<'a>(
            &'a self,
            request_id: &'a str,
        ) -> ::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<Output = Result<usize>> + 'a>> {
            ::std::boxed::Box::pin(async move { ::core::result::Result::Ok(request_id.len()) })
        }
    }

    /// Makes a handler of pieces that arrive in invisible groups.
    #[macro_export]
    macro_rules! handler {
        ($(#[$meta:meta])* $name:ident, $webhook:expr, $id:expr, $output:ty, $body:block) => {
            $(#[$meta])*
            #[::postback::async_handler(webhook = $webhook, request_id = $id)]
            pub async fn $name(_: &$crate::hostile::Config) -> $output $body
        };
    }

    handler!(
        /// From a macro.
        ///
        /// # Errors
        /// None.
        from_a_macro,
        crate::the_url(),
        [1 + 1][0] * 2,
        Result<u8>,
        { ::core::result::Result::Ok(7) }
    );
}

/// Where a macro sends its reports.
#[must_use]
pub const fn the_url() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::Future;
    use std::rc::Rc;
    use std::sync::OnceLock;

    use postback::{async_handler, Poster};
    use postback_tests::Receiver;
    use serde_json::json;

    use crate::hostile::{self, Config};

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Where all reports of the process go: a poster is installed once.
    fn receiver() -> &'static Receiver {
        static RECEIVER: OnceLock<Receiver> = OnceLock::new();
        RECEIVER.get_or_init(|| {
            let receiver = Receiver::start();
            std::mem::forget(Poster::builder().trust(receiver.url("/")).install().unwrap());
            receiver
        })
    }

    #[test]
    fn the_attribute_means_what_it_means() {
        let receiver = receiver();
        let config = || Config { webhook_url: receiver.url("/hooks") };
        let reported = |id: &str| {
            let mut report = receiver.wait_for(id).json();
            report.as_object_mut().unwrap().remove("timestamp");
            report
        };
        assert_eq!(block_on(hostile::free(config(), "free-1", 1)), Ok(1));
        assert_eq!(reported("free-1"), json!({"id": "free-1", "status": "completed", "result": 1}));
        assert_eq!(block_on(hostile::free(config(), "free-2", 0)), Err(()));
        assert_eq!(reported("free-2"), json!({"id": "free-2", "status": "failed"}));
        assert_eq!(block_on(config().method("method", 2)), Ok(2));
        assert_eq!(reported("method"), json!({"id": "method", "status": "completed", "result": 2}));
        assert_eq!(block_on(config().future("future")), Ok(6));
        assert_eq!(reported("future"), json!({"id": "future", "status": "completed", "result": 6}));
        assert_eq!(block_on(hostile::from_a_macro(&config())), Ok(7));
        assert_eq!(receiver.all().len(), 4, "no webhook, no report");
    }

    struct Noted(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Noted {
        fn itself(&self) -> &Self {
            self
        }
    }

    impl Drop for Noted {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    async fn plain(seen: &Rc<RefCell<Vec<&'static str>>>) -> Result<usize, ()> {
        let local = Noted("local", Rc::clone(seen));
        Ok(Noted("temporary", Rc::clone(&local.1)).itself().0.len())
    }

    #[async_handler(webhook = None::<&str>, request_id = 1)]
    async fn annotated(seen: &Rc<RefCell<Vec<&'static str>>>) -> Result<usize, ()> {
        let local = Noted("local", Rc::clone(seen));
        Ok(Noted("temporary", Rc::clone(&local.1)).itself().0.len())
    }

    /// They are dropped after the locals up to 2021, and before them from 2024 on.
    #[test]
    fn temporaries_of_the_last_expression_live_as_long_as_in_a_plain_function() {
        receiver();
        let (seen_plain, seen) = (Rc::default(), Rc::default());
        assert_eq!(block_on(plain(&seen_plain)), block_on(annotated(&seen)));
        assert_eq!(seen_plain, seen);
        assert_eq!(seen.borrow().len(), 2);
    }
}
