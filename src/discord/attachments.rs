//! Photos that people sent: downloaded under limits, from Discord's hosts.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use url::Url;

use super::message::Attachment;
use crate::config;
use crate::dialogue::Pixels;
use crate::imaging::{self, PhotoError};

/// Where Discord keeps what people send.
const DISCORD_HOSTS: [&str; 2] = ["cdn.discordapp.com", "media.discordapp.net"];

/// Photos of all requests together that are fetched and decoded at once.
const PLACES: usize = 4;
/// Longer side that a decoded photo keeps while it waits: twice that of the largest model's canvas.
const SIDE_PX_MAX: u32 = 2240;
/// Downloads at a time for one reply.
const AT_ONCE_MAX: usize = 4;

/// Why a photo can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PhotoFault {
    /// It lies elsewhere than on the hosts that are fetched from.
    #[error("a file on a foreign host")]
    ForeignHost,
    /// It is not there any more.
    #[error("a file that is gone")]
    Gone,
    /// It took too long.
    #[error("a download that took too long")]
    TooSlow,
    /// Its host failed or broke off.
    #[error("a download that failed")]
    Unreachable,
    /// What came is no photo that can be taken.
    #[error("a file that can't be taken")]
    Unfit(#[source] PhotoError),
}

/// A photo that was looked at.
#[derive(Clone)]
pub struct Looked {
    /// The file.
    pub bytes: Arc<[u8]>,
    /// What it shows.
    pub pixels: Arc<Pixels>,
}

/// Downloads photos. Clones share the connection.
#[derive(Clone)]
pub struct Photos {
    client: reqwest::Client,
    hosts: Arc<[String]>,
    limits: imaging::Limits,
    download_time_max: Duration,
    stall_time_max: Duration,
    /// However many people ask at once, only so many photos are fetched and decoded.
    places: Arc<Semaphore>,
}

impl Photos {
    /// A downloader under these limits.
    pub fn new(settings: &config::Attachments) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            // Another address would have to be judged like the first one.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.stall_time_max)
            .build()?;
        Ok(Self {
            client,
            hosts: settings.hosts.clone().into(),
            limits: imaging::Limits {
                bytes_max: settings.file_bytes_max,
                pixels_max: settings.photo_pixels_max,
                ..imaging::Limits::default()
            },
            download_time_max: settings.download_time_max,
            stall_time_max: settings.stall_time_max,
            places: Arc::new(Semaphore::new(PLACES)),
        })
    }

    /// Fetches and decodes photos, in the given order.
    pub async fn look_at(
        &self,
        attachments: &[&Attachment],
    ) -> Vec<(u64, Result<Looked, PhotoFault>)> {
        let downloads: Vec<_> =
            attachments.iter().map(|attachment| self.fetch(attachment)).collect();
        let looked: Vec<_> = futures::stream::iter(downloads).buffered(AT_ONCE_MAX).collect().await;
        attachments.iter().map(|attachment| attachment.id).zip(looked).collect()
    }

    /// Fetches and decodes one photo.
    async fn fetch(&self, attachment: &Attachment) -> Result<Looked, PhotoFault> {
        let url = trusted(&attachment.url, &self.hosts).ok_or(PhotoFault::ForeignHost)?;
        if attachment.bytes > self.limits.bytes_max {
            return Err(self.too_many_bytes(attachment.bytes));
        }
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let bytes = tokio::time::timeout(self.download_time_max, self.download(url))
            .await
            .unwrap_or(Err(PhotoFault::TooSlow))?;
        let limits = self.limits;
        let decoded = tokio::task::spawn_blocking(move || {
            let pixels = imaging::shrink(imaging::decode(&bytes, &limits)?, SIDE_PX_MAX);
            let pixels = Arc::new(pixels);
            Ok(Looked { bytes: bytes.into(), pixels })
        });
        match decoded.await {
            Ok(decoded) => decoded.map_err(PhotoFault::Unfit),
            // A decoder that panics on a file has met one that it can't read.
            Err(_) => Err(PhotoFault::Unfit(PhotoError::UnknownFormat)),
        }
    }

    async fn download(&self, url: Url) -> Result<Vec<u8>, PhotoFault> {
        let answer = self.within_stall_time(self.client.get(url).send()).await?;
        match answer.status().as_u16() {
            200 => {}
            404 | 410 | 403 => return Err(PhotoFault::Gone),
            300..400 => return Err(PhotoFault::ForeignHost),
            _ => return Err(PhotoFault::Unreachable),
        }
        if let Some(announced) = answer.content_length().filter(|l| *l > self.limits.bytes_max) {
            return Err(self.too_many_bytes(announced));
        }
        let mut bytes = Vec::new();
        let mut pieces = answer.bytes_stream();
        // What was announced may be a lie: the count is kept on what comes.
        while let Some(piece) =
            self.within_stall_time(async { pieces.next().await.transpose() }).await?
        {
            let length = (bytes.len() + piece.len()) as u64;
            if length > self.limits.bytes_max {
                return Err(self.too_many_bytes(length));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Errors lose their text: it holds the address, which is signed.
    async fn within_stall_time<T>(
        &self,
        work: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, PhotoFault> {
        match tokio::time::timeout(self.stall_time_max, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.is_timeout() => Err(PhotoFault::TooSlow),
            Ok(Err(_)) => Err(PhotoFault::Unreachable),
            Err(_) => Err(PhotoFault::TooSlow),
        }
    }

    fn too_many_bytes(&self, bytes: u64) -> PhotoFault {
        let bytes_max = self.limits.bytes_max;
        PhotoFault::Unfit(PhotoError::TooManyBytes { bytes, bytes_max })
    }
}

/// The address, if it lies on Discord's hosts or on one of `hosts` (`host` or `host:port`), and is
/// encrypted or on this machine.
fn trusted(address: &str, hosts: &[String]) -> Option<Url> {
    let url = Url::parse(address).ok()?;
    let host = url.host_str()?;
    let with_port = format!("{host}:{}", url.port_or_known_default()?);
    let discords = DISCORD_HOSTS.contains(&host) && url.port().is_none();
    let configured = hosts.iter().any(|known| known == host || *known == with_port);
    let encrypted = url.scheme() == "https";
    let safe = encrypted || (url.scheme() == "http" && config::is_this_machine(&url));
    let bare = url.username().is_empty() && url.password().is_none();
    ((discords || configured) && safe && bare).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_discords_hosts_and_configured_ones_are_fetched_from() {
        let hosts = ["files.example".to_owned(), "127.0.0.1:81".to_owned()];
        for (address, expected) in [
            ("https://cdn.discordapp.com/attachments/1/2/a.png?ex=1", true),
            ("https://media.discordapp.net/a.png", true),
            ("http://cdn.discordapp.com/a.png", false),
            ("https://cdn.discordapp.com:8443/a.png", false),
            ("https://cdn.discordapp.com.evil.example/a.png", false),
            ("https://cdn.discordapp.com@evil.example/a.png", false),
            ("https://evil.example/cdn.discordapp.com", false),
            ("https://me@cdn.discordapp.com/a.png", false),
            ("https://files.example/a.png", true),
            ("http://files.example/a.png", false),
            ("http://127.0.0.1:81/a.png", true),
            ("http://127.0.0.1:82/a.png", false),
            ("file:///etc/passwd", false),
            ("nonsense", false),
        ] {
            assert_eq!(trusted(address, &hosts).is_some(), expected, "{address}");
        }
    }
}
