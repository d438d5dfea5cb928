//! What commands do.

use super::house::{House, now_ms};
use crate::config::Switch;
use crate::discord::commands::{Asked, Command, PhotosAction, PhotosCommand, Scope};
use crate::discord::wording;
use crate::journal::{self, AuthorId, ChannelId, GuildId, PhotoRule, Realm};

/// A channel or thread with what is around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) guild: Option<u64>,
    /// The channel, if the place is a thread in one.
    pub(super) parent: Option<u64>,
    pub(super) place: u64,
}

impl Spot {
    /// From the smallest to the largest: the first that has a setting is followed.
    fn realms(self) -> impl Iterator<Item = Realm> {
        let places = std::iter::once(self.place).chain(self.parent);
        let places = places.map(|place| Realm::Channel(ChannelId(place)));
        places.chain(self.guild.map(|guild| Realm::Guild(GuildId(guild))))
    }

    /// Whether what holds in `realm` may hold here.
    pub(super) fn is_in(self, realm: Realm) -> bool {
        self.realms().any(|mine| mine == realm)
    }
}

/// What a command came to.
pub(super) struct Carried {
    /// What the person is told.
    pub(super) answer: String,
    /// Where settings have changed.
    pub(super) changed: Option<Realm>,
}

impl House {
    /// Whether photos may be shared in a place, as it is set now.
    pub(super) async fn photo_rule(&self, spot: Spot) -> journal::Result<PhotoRule> {
        let set = self
            .in_journal(move |journal| {
                for realm in spot.realms() {
                    if let Some(rule) = journal.photo_rule(realm)? {
                        return Ok(Some(rule));
                    }
                }
                Ok(None)
            })
            .await?;
        Ok(match (self.settings.reply.photos, set) {
            (Switch::Off, _) | (_, Some(PhotoRule::Off)) => PhotoRule::Off,
            (Switch::On, Some(PhotoRule::On) | None) => PhotoRule::On,
        })
    }

    /// Carries a command out.
    pub(super) async fn carry_out(&self, asked: &Asked, spot: Spot) -> journal::Result<Carried> {
        let unchanged = |answer| Carried { answer, changed: None };
        Ok(match asked.command {
            Command::Help => unchanged(wording::help(&self.me.name)),
            Command::Privacy => unchanged(wording::privacy(
                self.settings.store.deleted_max,
                self.settings.discord.privacy_policy_url.as_deref(),
            )),
            Command::Photos(command) => self.photos(asked, command, spot).await?,
        })
    }

    async fn photos(
        &self,
        asked: &Asked,
        PhotosCommand { action, scope }: PhotosCommand,
        spot: Spot,
    ) -> journal::Result<Carried> {
        let unchanged = |answer| Carried { answer, changed: None };
        let rule = match action {
            PhotosAction::Status => {
                return Ok(unchanged(match self.photo_rule(spot).await? {
                    PhotoRule::On => wording::photos_are_on(),
                    PhotoRule::Off => wording::photos_are_off(),
                }));
            }
            PhotosAction::On => PhotoRule::On,
            PhotosAction::Off => PhotoRule::Off,
        };
        let Some(guild) = asked.guild.filter(|_| asked.is_by_moderator()) else {
            return Ok(unchanged(wording::not_a_moderator()));
        };
        if self.settings.reply.photos == Switch::Off && rule == PhotoRule::On {
            return Ok(unchanged(wording::photos_off_everywhere()));
        }
        let realm = match scope {
            Scope::Channel => Realm::Channel(ChannelId(asked.channel)),
            Scope::Server => Realm::Guild(GuildId(guild)),
        };
        let by = AuthorId(asked.person);
        self.in_journal(move |journal| journal.set_photo_rule(realm, rule, by, now_ms())).await?;
        let answer = match rule {
            PhotoRule::On => wording::photos_turned_on(scope),
            PhotoRule::Off => wording::photos_turned_off(scope),
        };
        Ok(Carried { answer, changed: Some(realm) })
    }
}
