//! The typing indicator.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::rest::Rest;

/// Discord shows the indicator for ten seconds.
const RENEWED_EVERY: Duration = Duration::from_secs(8);

/// Shows the bot typing until it is stopped or dropped.
pub struct Typing {
    /// Dropping it ends the task after the request under way.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Typing {
    /// Begins.
    pub fn start(rest: &Rest, channel: u64) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let rest = rest.clone();
        let task = tokio::spawn(async move {
            loop {
                rest.typing(channel).await;
                tokio::select! {
                    _stop = &mut stopped => return,
                    () = tokio::time::sleep(RENEWED_EVERY) => {}
                }
            }
        });
        Self { stop, task }
    }

    /// Ends. When it returns no further request is sent or under way, so that none outlives the
    /// message that ends the indicator.
    pub async fn stop(self) {
        drop(self.stop);
        // The task can only fail by panicking, and then it has ended as well.
        let _ = self.task.await;
    }
}
