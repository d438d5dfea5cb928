//! The content delivery network: files under signed addresses that expire
//! (reference, Signed Attachment CDN URLs).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Query, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};

use super::super::World;
use super::super::clock::{Moment, Snowflake};
use super::super::faults::DownloadFault;
use super::super::model::Attachment;
use super::super::recording::Download;
use super::super::server::Line;
use super::super::state::State;
use super::super::wire::file_host;

/// How long a signed address opens.
const ADDRESS_LASTS: Duration = Duration::from_secs(24 * 3600);

/// The signature of an address.
#[derive(Debug, serde::Deserialize)]
pub struct Signature {
    ex: Option<String>,
    #[serde(rename = "is")]
    issued: Option<String>,
    hm: Option<String>,
}

/// A fresh address of `file`.
pub fn address(state: &State, channel: Snowflake, file: &Attachment) -> String {
    let now = state.now();
    let (issued, expires) = (hex(now), hex(now.after(ADDRESS_LASTS)));
    let host = file_host(state, file.host);
    let (id, name) = (file.id, &file.filename);
    let mark = signature(id, &issued, &expires);
    format!("{host}/attachments/{channel}/{id}/{name}?ex={expires}&is={issued}&hm={mark}&")
}

fn hex(moment: Moment) -> String {
    format!("{:x}", moment.unix_s())
}

fn signature(file: Snowflake, issued: &str, expires: &str) -> String {
    blake3::hash(format!("{file}/{issued}/{expires}").as_bytes()).to_hex().to_string()
}

fn opens(state: &State, file: Snowflake, signature_shown: &Signature) -> bool {
    let Signature { ex: Some(expires), issued: Some(issued), hm: Some(mark) } = signature_shown
    else {
        return false;
    };
    let expires_s = u64::from_str_radix(expires, 16).unwrap_or(0);
    *mark == signature(file, issued, expires) && state.now().unix_s() < expires_s
}

/// Serves a file.
pub async fn download(
    Extract(world): Extract<World>,
    ConnectInfo(line): ConnectInfo<Line>,
    Path((channel, id, name)): Path<(String, String, String)>,
    Query(signature): Query<Signature>,
    headers: HeaderMap,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (file, fault) = world.change(|state| {
        let id = id.parse().ok().filter(|&id| opens(state, id, &signature));
        let file = id.and_then(|id| state.files.get(&id)).map(|(_, file)| file.clone());
        let fault = state.faults.next_download();
        let status = match (&file, fault) {
            (_, Some(DownloadFault::ServerError(status))) => status,
            (Some(_), _) => 200,
            (None, _) => 404,
        };
        let path = format!("/attachments/{channel}/{}/{name}", id.map_or(0, |id: Snowflake| id.0));
        state.downloads.push(Download { host: host.to_owned(), path, status });
        (file, fault)
    });
    if let Some(DownloadFault::ServerError(status)) = fault {
        return StatusCode::from_u16(status).expect("a fault has a real status").into_response();
    }
    let Some(file) = file else {
        return (StatusCode::NOT_FOUND, "This content is no longer available.").into_response();
    };
    let whole = Bytes::from_owner(SharedBytes(file.bytes.clone()));
    let half = stream::iter([Ok::<_, Infallible>(whole.slice(..whole.len() / 2))]);
    let body = match fault {
        Some(DownloadFault::Stalled) => Body::from_stream(half.chain(stream::pending())),
        Some(DownloadFault::Truncated) => {
            let broken = stream::once(async move {
                // Long enough for the first half to leave.
                tokio::time::sleep(Duration::from_millis(20)).await;
                line.cut();
                Ok(whole.slice(whole.len() / 2..))
            });
            Body::from_stream(half.chain(broken))
        }
        Some(DownloadFault::ServerError(_)) | None => Body::from(whole),
    };
    let head = [
        (header::CONTENT_TYPE, file.content_type),
        (header::CONTENT_LENGTH, file.bytes.len().to_string()),
    ];
    (head, body).into_response()
}

struct SharedBytes(std::sync::Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
