//! A [`tower_service::Service`] as a handler, so that tower's layers can be put around what answers
//! requests.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
};

use millpond_words::Chain;
use tower_service::Service;

use super::{handler::Handler, reply::Reply, request::Request};
use crate::framing::Failure;

/// A handler that answers with a tower service.
///
/// ```
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use millpond::{framing::Failure, server::{Request, Server, service}};
/// use tower::{ServiceBuilder, service_fn};
///
/// let echo = service_fn(async |request: Request| Ok::<Bytes, Failure>(request.into_body()));
/// let limited = ServiceBuilder::new().timeout(Duration::from_secs(1)).service(echo);
/// let server = Server::builder(service(limited));
/// # let _ = server;
/// ```
///
/// Each request is answered by a clone of the service, which is waited for until it is ready. That
/// wait counts as handling: `handler_deadline` and `max_handled` include it.
///
/// An error that is a [`Failure`] is told to the client as it is; any other with -32603 and its
/// text, causes included. A layer's errors are of that kind: map them, where clients are to tell a
/// timeout from a failure. Bodies aren't looked at before the service is called.
pub fn service<S>(service: S) -> ServiceHandler<S>
where
    S: Service<Request, Response: Into<Reply>, Error: Into<Box<dyn Error + Send + Sync>>>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    ServiceHandler(service)
}

/// What [`service()`] makes.
pub struct ServiceHandler<S>(S);

impl<S> fmt::Debug for ServiceHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceHandler<{}>", std::any::type_name::<S>())
    }
}

impl<S> Handler for ServiceHandler<S>
where
    S: Service<Request, Response: Into<Reply>, Error: Into<Box<dyn Error + Send + Sync>>>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Result<Reply, Failure>> + Send {
        let mut service = self.0.clone();
        async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(|error| told(error.into()))?;
            let reply = service.call(request).await;
            reply.map(Into::into).map_err(|error| told(error.into()))
        }
    }
}

/// What a client is told of an error.
fn told(error: Box<dyn Error + Send + Sync>) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => *failure,
        Err(error) => Failure::handler_failed(Chain(&*error).to_string()),
    }
}
