//! Tests methods with every kind of receiver: inherent methods, methods of traits, and methods of `#[async_trait]`
//! traits.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use postback::async_handler;

use crate::support::{Config, completed, completed_without_result, failed, named, send, url};

#[derive(Clone)]
struct Scene {
    config: Config,
    shapes: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        Self { config: Config::new(), shapes: vec![1, 2] }
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn by_reference(&self, request_id: &str) -> Result<usize, String> {
        tokio::task::yield_now().await;
        Ok(self.shapes.len())
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn mutably(&mut self, request_id: &str) -> Result<&mut Vec<u8>, String> {
        self.config = Config { webhook_url: String::new() };
        tokio::task::yield_now().await;
        self.shapes.push(3);
        Ok(&mut self.shapes)
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn by_value(mut self, request_id: &str) -> Result<Vec<u8>, String> {
        self.shapes.clear();
        Ok(self.shapes)
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn shared(self: Arc<Self>, request_id: &str) -> Result<usize, String> {
        let strong = Arc::strong_count(&self);
        drop(self);
        Ok(strong)
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn pinned(mut self: Pin<&mut Self>, request_id: &str) -> Result<usize, String> {
        self.shapes.clear();
        Ok(self.shapes.len())
    }

    #[async_handler(webhook = self.config.webhook_url)]
    #[expect(clippy::needless_arbitrary_self_type, reason = "some users write the receiver this way")]
    async fn named(self: &Self, request_id: &str) -> Result<usize, String> {
        Ok(self.shapes.len())
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn boxed(mut self: Box<Self>, request_id: &str) -> Result<Vec<u8>, String> {
        self.shapes.push(4);
        Ok(self.shapes)
    }

    const ID: &str = "of-the-type";

    fn hook() -> String {
        url()
    }

    #[async_handler(webhook = Self::hook(), request_id = Self::ID, result = false)]
    async fn of_the_type() -> Result<Self, String> {
        Ok(Self::new())
    }

    #[async_handler(webhook = config.webhook_url)]
    async fn associated(config: Config, request_id: &str) -> Result<Vec<u8>, String> {
        Ok(Self { config, shapes: vec![7] }.shapes)
    }
}

#[tokio::test]
async fn methods_take_every_receiver() {
    let mut scene = Scene::new();
    assert_eq!(send(scene.by_reference("by-reference")).await, Ok(2));
    completed("by-reference", 2);
    assert_eq!(send(scene.clone().mutably("mutably")).await, Ok(&mut vec![1, 2, 3]));
    completed("mutably", vec![1, 2, 3]);
    assert_eq!(send(scene.clone().by_value("by-value")).await, Ok(vec![]));
    completed("by-value", Vec::<u8>::new());
    assert_eq!(send(Arc::new(scene.clone()).shared("shared")).await, Ok(1));
    completed("shared", 1);
    assert_eq!(send(Pin::new(&mut scene).pinned("pinned")).await, Ok(0));
    completed("pinned", 0);
    assert_eq!(scene.named("named").await, Ok(0));
    completed("named", 0);
    assert_eq!(send(Box::new(scene).boxed("boxed-self")).await, Ok(vec![4]));
    completed("boxed-self", vec![4]);
    assert_eq!(Scene::of_the_type().await.unwrap().shapes, [1, 2]);
    completed_without_result("of-the-type");
    assert_eq!(Scene::associated(Config::new(), "associated").await, Ok(vec![7]));
    completed("associated", vec![7]);
}

trait Render {
    fn config(&self) -> &Config;

    async fn declared(&self, request_id: &str) -> Result<u8, String>;

    #[async_handler(webhook = self.config().webhook_url)]
    async fn sized(self, request_id: &str) -> Result<usize, String>
    where
        Self: Sized,
    {
        Ok(request_id.len())
    }

    #[async_handler(webhook = self.config().webhook_url)]
    async fn defaulted(&self, request_id: &str) -> Result<String, String> {
        self.declared(&format!("{request_id}-inner")).await.map(|n| n.to_string())
    }
}

impl Render for Scene {
    fn config(&self) -> &Config {
        &self.config
    }

    #[async_handler(webhook = self.config.webhook_url)]
    async fn declared(&self, request_id: &str) -> Result<u8, String> {
        self.shapes.first().copied().ok_or_else(|| "empty".to_owned())
    }
}

#[tokio::test]
async fn methods_of_traits_and_their_implementations_report() {
    assert_eq!(Scene::new().defaulted("defaulted").await, Ok("1".to_owned()));
    completed("defaulted-inner", 1);
    completed("defaulted", "1");
    assert_eq!(Scene::new().sized("sized").await, Ok(5));
    completed("sized", 5);
}

#[async_trait]
trait Boxed: Send + Sync {
    async fn read<'a>(&'a self, text: &'a str, request_id: String) -> Result<&'a str, String>;
    async fn write(&mut self, mut by: u8, request_id: &str, _: u8) -> Result<u8, String>;
    async fn consumed(self: Box<Self>, request_id: &str) -> Result<u8, String>;

    #[async_handler(webhook = url(), request_id = named("boxed-default"))]
    async fn defaulted_boxed(&self) -> Result<u8, String> {
        self.read("x", "boxed-read".to_owned()).await.map(str::len).map(|n| u8::try_from(n).unwrap_or(9))
    }
}

#[async_trait]
impl Boxed for Scene {
    #[async_handler(webhook = self.config.webhook_url)]
    async fn read<'a>(&'a self, text: &'a str, request_id: String) -> Result<&'a str, String> {
        drop(request_id);
        tokio::task::yield_now().await;
        if self.shapes.is_empty() {
            return Err("empty".to_owned());
        }
        Ok(text)
    }

    #[async_handler(webhook = self.config.webhook_url, error = display)]
    #[tracing::instrument(skip_all)]
    async fn write(&mut self, mut by: u8, request_id: &str, _: u8) -> Result<u8, String> {
        by += self.shapes.pop().ok_or("empty")?;
        Ok(by)
    }

    #[tracing::instrument(skip_all)]
    #[async_handler(webhook = self.config.webhook_url)]
    async fn consumed(self: Box<Self>, request_id: &str) -> Result<u8, String> {
        self.shapes.iter().copied().max().ok_or_else(|| request_id.to_owned())
    }
}

#[tokio::test]
async fn methods_of_async_trait_report() {
    let mut scene: Box<dyn Boxed> = Box::new(Scene::new());
    assert_eq!(scene.defaulted_boxed().await, Ok(1));
    completed("boxed-read", "x");
    completed("boxed-default", 1);
    assert_eq!(scene.write(3, "boxed-write", 0).await, Ok(5));
    completed("boxed-write", 5);
    assert_eq!(scene.write(3, "boxed-again", 0).await, Ok(4));
    completed("boxed-again", 4);
    assert_eq!(scene.write(3, "boxed-failed", 0).await, Err("empty".to_owned()));
    assert_eq!(crate::support::reported("boxed-failed")["error"], "empty");
    assert_eq!(scene.consumed("boxed-consumed").await, Err("boxed-consumed".to_owned()));
    failed("boxed-consumed");
}

#[async_trait(?Send)]
trait Local {
    async fn local(&self, request_id: &str) -> Result<u8, String>;
}

#[async_trait(?Send)]
impl Local for std::rc::Rc<Scene> {
    #[async_handler(webhook = self.config.webhook_url)]
    async fn local(&self, request_id: &str) -> Result<u8, String> {
        Ok(self.shapes.iter().sum())
    }
}

#[tokio::test]
async fn methods_of_async_trait_need_not_be_send() {
    assert_eq!(std::rc::Rc::new(Scene::new()).local("boxed-local").await, Ok(3));
    completed("boxed-local", 3);
}
