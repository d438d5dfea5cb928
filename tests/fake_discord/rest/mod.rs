//! The REST API, v10: what every route has in common. The routes themselves are in the files
//! beside this one, a table each.

pub mod cdn;
mod channels;
mod commands;
mod guilds;
pub mod interactions;
mod limits;
mod messages;
mod payload;
mod reactions;

pub use limits::Buckets;

use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::World;
use super::clock::Snowflake;
use super::error::ApiError;
use super::faults::RestFault;
use super::recording::{Exchange, Method, Sender};
use super::server::Line;
use super::state::State;

const PREFIX: &str = "/api/v10";
/// The longest request that Discord takes.
const REQUEST_BYTES_MAX: usize = 25 * 1024 * 1024;

/// What a route does: all of it happens between two looks at the world.
type Handler = fn(&mut State, &Call) -> Result<Answer, ApiError>;

/// Method, template as in Discord's description of its API, and what to do.
type Route = (Method, &'static str, Handler);

/// A request, read.
pub struct Call {
    template: &'static str,
    path: String,
    query: Vec<(String, String)>,
    body: Value,
    files: Vec<Upload>,
    token: Option<String>,
    sender: Sender,
}

/// One `files[n]` of a multipart body.
pub struct Upload {
    field: String,
    filename: String,
    content_type: String,
    bytes: Vec<u8>,
}

/// A good answer.
pub struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body }
    }

    fn created(body: Value) -> Self {
        Self { status: StatusCode::CREATED, body }
    }

    fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: Value::Null }
    }
}

impl Call {
    /// The part of the path that the template calls `name`, percent-decoded.
    fn param(&self, name: &str) -> String {
        let wanted = format!("{{{name}}}");
        let raw = self
            .template
            .split('/')
            .zip(self.path.split('/'))
            .find_map(|(part, value)| (part == wanted).then_some(value))
            .expect("the handler asks for what its template has");
        percent_decoded(raw)
    }

    /// The snowflake that the template calls `name`.
    fn id(&self, name: &str) -> Result<Snowflake, ApiError> {
        let text = self.param(name);
        text.parse().map_err(|_| not_a_snowflake(name, &text))
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// A snowflake of the query.
    fn query_id(&self, name: &str) -> Result<Option<Snowflake>, ApiError> {
        self.query(name)
            .map(|text| text.parse().map_err(|_| not_a_snowflake(name, text)))
            .transpose()
    }
}

fn not_a_snowflake(field: &str, text: &str) -> ApiError {
    ApiError::invalid_form(
        field,
        "NUMBER_TYPE_COERCE",
        &format!("Value \"{text}\" is not snowflake."),
    )
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if code.is_some() { &tail[2..] } else { tail };
        bytes.push(code.unwrap_or(first));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every REST route.
pub fn router() -> Router<World> {
    let tables = [
        channels::ROUTES,
        commands::ROUTES,
        guilds::ROUTES,
        interactions::ROUTES,
        messages::ROUTES,
        reactions::ROUTES,
    ];
    let mut router = Router::new();
    for &(method, template, handler) in tables.into_iter().flatten() {
        let filter = match method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Put => MethodFilter::PUT,
            Method::Patch => MethodFilter::PATCH,
            Method::Delete => MethodFilter::DELETE,
        };
        let perform = move |world: axum::extract::State<World>, line, request: Request| {
            perform(world.0, line, (method, template, handler), request)
        };
        router = router.route(&format!("{PREFIX}{template}"), on(filter, perform));
    }
    router
        .method_not_allowed_fallback(unknown_method)
        .fallback(unknown_route)
        .layer(DefaultBodyLimit::disable())
}

async fn unknown_route(world: axum::extract::State<World>, request: Request) -> Response {
    refuse(&world, &request, ApiError::no_such_route())
}

async fn unknown_method(world: axum::extract::State<World>, request: Request) -> Response {
    refuse(&world, &request, ApiError::no_such_method())
}

/// A request for something that Discord, or at least this one, doesn't have. It is recorded, so
/// that the conformance check and the tests notice.
fn refuse(world: &World, request: &Request, error: ApiError) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix(PREFIX).unwrap_or(path).to_owned();
    if let Ok(method) = request.method().as_str().parse() {
        record(
            world,
            Exchange {
                method,
                template: path.clone(),
                path,
                query: Vec::new(),
                request: Value::Null,
                files: Vec::new(),
                status: Some(error.status.as_u16()),
                answer: error.body.clone(),
                fault: None,
                sender: sender(request.headers()),
            },
        );
    }
    error.into_response()
}

fn sender(headers: &HeaderMap) -> Sender {
    if headers.contains_key("x-probe") { Sender::Probe } else { Sender::Client }
}

fn record(world: &World, exchange: Exchange) {
    exchange.append();
    world.change(|state| state.exchanges.push(exchange));
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Reads a request, meets it with a fault or does what it asks, and records both sides.
async fn perform(
    world: World,
    ConnectInfo(line): ConnectInfo<Line>,
    (method, template, handler): Route,
    request: Request,
) -> Response {
    let fault = world.change(|state| state.faults.next(method, template));
    if fault == Some(RestFault::DroppedBefore) {
        line.cut();
        return StatusCode::OK.into_response();
    }
    let call = read(template, request).await;
    let (outcome, headers) = world.change(|state| {
        let outcome = match (&call, fault.as_ref().and_then(RestFault::answer)) {
            (_, Some((status, body))) => {
                let status = StatusCode::from_u16(status).expect("a fault has a real status");
                Err(ApiError { status, body })
            }
            (Err((_, error)), None) => Err(error.clone()),
            (Ok(call), None) => state.admit_call(call).and_then(|()| {
                state.buckets.take(method, call)?;
                handler(state, call)
            }),
        };
        let headers = state.buckets.headers(method, template, fault.as_ref());
        (outcome, headers)
    });
    let (status, body) = match outcome {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (error.status, error.body),
    };
    let call = call.unwrap_or_else(|(call, _)| *call);
    let dropped = fault == Some(RestFault::DroppedAfter);
    record(
        &world,
        Exchange {
            method,
            template: template.to_owned(),
            path: call.path,
            query: call.query,
            request: call.body,
            files: call.files.into_iter().map(|file| file.field).collect(),
            status: (!dropped).then_some(status.as_u16()),
            answer: body.clone(),
            fault: fault.clone(),
            sender: call.sender,
        },
    );
    if let Some(RestFault::Stalled(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    if dropped {
        line.cut();
    }
    let retry = limits::retry_header(&body, status);
    let mut response = if status == StatusCode::NO_CONTENT {
        status.into_response()
    } else {
        (status, Json(body)).into_response()
    };
    response.headers_mut().extend(headers);
    response.headers_mut().extend(retry);
    response
}

/// Reads path, query and body. What can't be read still has a path to be recorded under.
async fn read(template: &'static str, request: Request) -> Result<Call, (Box<Call>, ApiError)> {
    let path = request.uri().path();
    let mut call = Call {
        template,
        path: path.strip_prefix(PREFIX).unwrap_or(path).to_owned(),
        query: request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), percent_decoded(value)))
            .collect(),
        body: Value::Null,
        files: Vec::new(),
        token: request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        sender: sender(request.headers()),
    };
    match read_body(&mut call, request).await {
        Ok(()) => Ok(call),
        Err(error) => Err((Box::new(call), error)),
    }
}

async fn read_body(call: &mut Call, request: Request<Body>) -> Result<(), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        let mut form =
            Multipart::from_request(request, &()).await.map_err(|_| ApiError::unreadable_json())?;
        let mut total = 0;
        while let Some(part) = form.next_field().await.map_err(|_| ApiError::unreadable_json())? {
            let field = part.name().unwrap_or_default().to_owned();
            let filename = part.file_name().map(str::to_owned);
            let content_type = part.content_type().unwrap_or("application/octet-stream").to_owned();
            let bytes = part.bytes().await.map_err(|_| ApiError::unreadable_json())?.to_vec();
            total += bytes.len();
            match filename {
                Some(filename) => {
                    call.files.push(Upload { field, filename, content_type, bytes });
                }
                None if field == "payload_json" => call.body = json_of(&bytes)?,
                None => call.body[field] = json!(String::from_utf8_lossy(&bytes)),
            }
        }
        if total > REQUEST_BYTES_MAX {
            return Err(ApiError::entity_too_large());
        }
        return Ok(());
    }
    let bytes = axum::body::to_bytes(request.into_body(), REQUEST_BYTES_MAX)
        .await
        .map_err(|_| ApiError::entity_too_large())?;
    if !bytes.is_empty() {
        call.body = json_of(&bytes)?;
    }
    Ok(())
}

fn json_of(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes).map_err(|_| ApiError::unreadable_json())
}

impl State {
    /// Lets a call in by the bot's token. Interactions and webhooks carry their own in the path.
    fn admit_call(&self, call: &Call) -> Result<(), ApiError> {
        let own_token =
            call.template.starts_with("/webhooks/") || call.template.starts_with("/interactions/");
        let shown = call.token.as_deref().and_then(|token| token.strip_prefix("Bot "));
        if own_token || shown == Some(self.token.as_str()) {
            Ok(())
        } else {
            Err(ApiError::unauthorized())
        }
    }
}
