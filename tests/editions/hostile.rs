//! Tests `#[async_handler]` in a module where every name that generated code might use means something else. The
//! packages in this folder compile this file in the editions 2018, 2021 and 2024.
//!
//! Lints are forbidden here, and not only denied, because an `#[allow]` of a forbidden lint in generated code is an
//! error.

#![deny(warnings)]
#![forbid(unsafe_code, missing_docs, unused, unreachable_code, unused_braces, unused_qualifications, rust_2018_idioms)]
#![cfg_attr(not(test), forbid(clippy::all, clippy::pedantic, clippy::nursery))]

/// A module without the prelude, in which common names mean other things.
#[no_implicit_prelude]
pub mod hostile {
    /// A module with the name of the crate `core`.
    pub mod core {}
    /// A module with the name of the crate `std`.
    pub mod std {}
    /// A module with the name of the crate `alloc`.
    pub mod alloc {}
    /// A module with the name of the crate `postback`.
    pub mod postback {
        /// A module with the name of the module that generated code uses.
        pub mod __private {}
    }

    /// A struct with the name of the variant `Ok`.
    pub struct Ok;
    /// A struct with the name of the variant `Err`.
    pub struct Err;
    /// A struct with the name of the variant `Some`.
    pub struct Some;
    /// A struct with the name of the variant `None`.
    pub struct None;
    /// A struct with the name of the standard type `Box`.
    pub struct Box;
    /// A struct with the name of the standard type `String`.
    pub struct String;
    /// An enum with the name of the standard type `Option`.
    pub enum Option {}
    /// A trait with the name of the standard trait `Send`.
    pub trait Send {}
    /// A trait with the name of the standard trait `Future`.
    pub trait Future {}
    /// A trait with the name of the standard trait `FnOnce`.
    pub trait FnOnce {}
    /// A trait with the name of the standard trait `Display`.
    pub trait Display {}
    /// A `Result` alias with one type parameter instead of two.
    pub type Result<T> = ::core::result::Result<T, ()>;

    /// A macro with the name of the standard macro `vec!`.
    #[macro_export]
    macro_rules! vec {
        ($($any:tt)*) => {
            ::core::compile_error!("generated code names a macro")
        };
    }
    /// A macro with the name of the standard macro `format_args!`.
    #[macro_export]
    macro_rules! format_args {
        ($($any:tt)*) => {
            ::core::compile_error!("generated code names a macro")
        };
    }

    /// The configuration that the handlers take.
    pub struct Config {
        /// The URL that receives the reports.
        pub webhook_url: ::std::string::String,
    }

    /// A function whose parameters have the names of variables in the generated code.
    ///
    /// # Errors
    /// Fails if `__returned` is 0.
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
        /// An annotated method.
        ///
        /// # Errors
        /// Never fails.
        #[::postback::async_handler(webhook = "self.webhook_url")]
        pub async fn method(&mut self, request_id: &str, r#gen: u8) -> Result<u8> {
            self.webhook_url.clear();
            ::core::future::ready(()).await;
            ::core::result::Result::Ok(r#gen)
        }

        /// An annotated method that returns a boxed future.
        #[must_use]
        #[::postback::async_handler(webhook = self.webhook_url)]
        pub fn future<'a>(
            &'a self,
            request_id: &'a str,
        ) -> ::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<Output = Result<usize>> + 'a>> {
            ::std::boxed::Box::pin(async move { ::core::result::Result::Ok(request_id.len()) })
        }
    }

    /// Makes a handler from macro arguments. Each argument reaches the attribute in an invisible group of tokens.
    #[macro_export]
    macro_rules! handler {
        ($(#[$meta:meta])* $name:ident, $webhook:expr, $id:expr, $output:ty, $body:block) => {
            $(#[$meta])*
            #[::postback::async_handler(webhook = $webhook, request_id = $id)]
            pub async fn $name(_: &$crate::hostile::Config) -> $output $body
        };
    }

    handler!(
        /// A handler that a macro makes.
        ///
        /// # Errors
        /// Never fails.
        from_a_macro,
        crate::the_url(),
        [1 + 1][0] * 2,
        Result<u8>,
        { ::core::result::Result::Ok(7) }
    );
}

/// The webhook of the handler that a macro makes: it has none.
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

    /// The receiver of all reports of this process. Its first use also installs the poster.
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

    /// Up to edition 2021, the temporaries of the last expression are dropped after the local variables. From edition
    /// 2024 on, they are dropped before the local variables.
    #[test]
    fn temporaries_of_the_last_expression_live_as_long_as_in_a_plain_function() {
        receiver();
        let (seen_plain, seen) = (Rc::default(), Rc::default());
        assert_eq!(block_on(plain(&seen_plain)), block_on(annotated(&seen)));
        assert_eq!(seen_plain, seen);
        assert_eq!(seen.borrow().len(), 2);
    }
}
