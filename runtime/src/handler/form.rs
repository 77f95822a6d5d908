//! A payload that is a form: `Payload<Form<T>>`.
//!
//! `Payload<T>` takes every type that serde reads, so the type itself has to say that it is a form. It does so as serde
//! lets types speak to their formats: it asks to be read as a newtype with a name that only this module knows.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{PoisonError, RwLock};

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::body::PayloadError;
use crate::panics::caught;

/// The name by which a form asks to be read.
const NAME: &str = "$postback::Form";

/// The fields of a form, as a payload: `Payload<Form<T>>` takes requests with the content type
/// `application/x-www-form-urlencoded`, as browsers and `curl -d` send them.
///
/// `T` is a struct with a field for each name. A name that comes several times is read into a `Vec`. If the fields do not
/// fit `T`, the server answers 422 with the name of the wrong field, and does not accept the request.
///
/// ```
/// use postback::{Form, Payload, RequestId, async_handler};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     item: String,
///     count: u32,
/// }
///
/// #[async_handler(webhook = "\"https://example.com/hooks\"")]
/// async fn order(order: Payload<Form<Order>>, request_id: RequestId) -> Result<String, String> {
///     Ok(format!("{} × {}", order.count, order.item))
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form<T>(pub T);

impl<T> Form<T> {
    /// Returns the value that was read from the fields.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Form<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Form<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Form<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the fields of a form")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, fields: D) -> Result<Form<T>, D::Error> {
                T::deserialize(fields).map(Form)
            }
        }

        deserializer.deserialize_newtype_struct(NAME, Fields(PhantomData))
    }
}

/// The types that were asked whether they are forms, and what they said. As many as a program has payload types.
static ASKED: RwLock<BTreeMap<TypeId, bool>> = RwLock::new(BTreeMap::new());

/// Whether the type is a [`Form`]. The type is asked once: this runs its code, which no request should pay for.
pub(super) fn is_form<T: DeserializeOwned + 'static>() -> bool {
    let of = TypeId::of::<T>();
    if let Some(known) = ASKED.read().unwrap_or_else(PoisonError::into_inner).get(&of) {
        return *known;
    }
    let is_form = says_form::<T>();
    ASKED.write().unwrap_or_else(PoisonError::into_inner).insert(of, is_form);
    is_form
}

/// Asks the type by which name it is read.
fn says_form<T: DeserializeOwned>() -> bool {
    let mut asked = Asked(None);
    // The code of the type may do anything.
    let _ = caught(|| drop(T::deserialize(&mut asked)));
    asked.0 == Some(NAME)
}

/// Reads a form.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, PayloadError> {
    fields(body).map_err(|Wrong { name, problem }| {
        let path = name.unwrap_or_else(|| "the form".to_owned());
        PayloadError::Field { path, problem }
    })
}

/// What is wrong with fields. `None`: they are wrong as a whole, for example because one is missing.
pub(super) struct Wrong {
    pub(super) name: Option<String>,
    pub(super) problem: String,
}

/// Reads fields, such as `a=1&b=2`.
pub(super) fn fields<T: DeserializeOwned>(text: &[u8]) -> Result<T, Wrong> {
    let fields = serde_html_form::Deserializer::from_bytes(text);
    // The type asks to be read as a newtype first, which the fields themselves are not.
    serde_path_to_error::deserialize(Whole(fields)).map_err(|error| {
        let path = error.path().to_string();
        Wrong { name: (path != ".").then_some(path), problem: error.into_inner().to_string() }
    })
}

/// Says by which name a type asks to be read, and lets it have nothing.
struct Asked(Option<&'static str>);

/// The type was to say its name, and not to be read.
#[derive(Debug, thiserror::Error)]
#[error("nothing is read")]
struct Nothing;

impl de::Error for Nothing {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for &mut Asked {
    type Error = Nothing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Nothing> {
        Err(Nothing)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, _: V) -> Result<V::Value, Nothing> {
        self.0 = Some(name);
        Err(Nothing)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// All fields of a form, for a type that asks to be read as a newtype.
struct Whole<'a>(serde_html_form::Deserializer<'a>);

impl<'de> Deserializer<'de> for Whole<'de> {
    type Error = serde_html_form::de::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self.0)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Order {
        item: String,
        count: u32,
        #[serde(default)]
        tag: Vec<String>,
        note: Option<String>,
    }

    #[derive(serde::Deserialize)]
    struct Newtype(#[expect(dead_code, reason = "only its form matters")] Order);

    #[test]
    fn a_form_says_what_it_is() {
        assert!(is_form::<Form<Order>>() && is_form::<Form<Vec<(String, String)>>>());
        assert!(!is_form::<Order>() && !is_form::<Newtype>() && !is_form::<serde_json::Value>() && !is_form::<()>());
        assert!(!is_form::<Vec<Form<Order>>>() && !is_form::<String>());
    }

    #[test]
    fn a_type_is_asked_once_what_it_is() {
        static READS: AtomicUsize = AtomicUsize::new(0);
        struct Counted;
        impl<'de> Deserialize<'de> for Counted {
            fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                READS.fetch_add(1, Ordering::Relaxed);
                Err(de::Error::custom("it is never read"))
            }
        }
        for _ in 0..3 {
            assert!(!is_form::<Counted>());
        }
        assert_eq!(READS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn fields_are_read_with_their_types_and_repeated_names() {
        let form: Form<Order> = read(b"item=a+b%26c&count=2&tag=x&tag=%C3%A9").unwrap();
        let order = Order { item: "a b&c".to_owned(), count: 2, tag: vec!["x".into(), "é".into()], note: None };
        assert_eq!(form.into_inner(), order);
        let pairs: Form<Vec<(String, String)>> = read(b"a=1&a=2&b").unwrap();
        assert_eq!(pairs.len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_field() {
        let wrong = |body: &str| read::<Form<Order>>(body.as_bytes()).unwrap_err().to_string();
        assert!(wrong("item=a&count=x").starts_with("count: "), "{}", wrong("item=a&count=x"));
        assert!(wrong("item=a").contains("missing field `count`"), "{}", wrong("item=a"));
        assert!(wrong("").contains("missing field"), "{}", wrong(""));
        // Bytes that are no text, and escapes that are none, are read as the URL standard says, and do not panic.
        read::<Form<Order>>(b"item=\xff%zz&count=1").unwrap();
    }
}
