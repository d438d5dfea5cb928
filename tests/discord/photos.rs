//! Photos that can't be looked at: there is an answer all the same, and a sentence that tells why.

use shutterbug::discord::wording;

use crate::bot::{Scene, png};
use crate::fake_discord::{DownloadFault, Message, Photo, Post};
use crate::scripted::pictures;

async fn answer_to(scene: &Scene, photo: Photo) -> Message {
    let question = scene.ann.says(&scene.channel, ("@bot what is it?", photo));
    let reply = scene.world.wait_for_reply(&question).await;
    assert_eq!(wording::without_notes(&reply.content), "hello");
    let asked = scene.bot.stage.asked();
    assert!(pictures(asked.last().expect("it was asked")).is_empty(), "nothing was seen");
    reply
}

fn note(reply: &Message) -> &str {
    reply.content.strip_prefix("hello\n").expect("the answer and a note")
}

#[tokio::test]
async fn broken_photos_and_bombs_are_told_to_their_sender() {
    let scene =
        Scene::with("[history]\nphotos_max = 1", |_| crate::scripted::Line::text("hello")).await;
    let whole = png(300, 200);
    let mut bomb = png(1, 1);
    // The width and height that a PNG file announces, and the checksum over them.
    bomb[16..24].copy_from_slice(&[0, 0, 200, 0, 0, 0, 200, 0]);
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let mut notes = Vec::new();
    for photo in [
        Photo::png("broken.png", whole[..whole.len() / 2].to_vec()),
        Photo::png("empty.png", Vec::new()),
        Photo::png("text.png", b"not a picture at all".to_vec()),
        Photo::png("bomb.png", bomb),
    ] {
        notes.push(note(&answer_to(&scene, photo).await).to_owned());
    }
    insta::assert_snapshot!(notes.join("\n"), @"
    -# I couldn't look at a photo. The file ends in the middle of the picture. Please upload the photo again.
    -# I couldn't look at a photo. The file is empty. Please send the photo again.
    -# I couldn't look at a photo. I can't read this kind of file. Please send a JPEG, PNG, GIF, WebP or BMP picture.
    -# I couldn't look at a photo. The picture is 51200 × 51200 pixels, and I take at most 16384 a side and 40000000 in all. Please send a smaller photo.
    ");
}

#[tokio::test]
async fn a_wrong_content_type_does_not_matter() {
    let scene = Scene::hello().await;
    let photo = Photo::new("photo.jpg", "image/jpeg", png(5, 4));
    let question = scene.ann.says(&scene.channel, ("@bot what is it?", photo));
    let reply = scene.world.wait_for_reply(&question).await;
    assert_eq!(reply.content, "hello");
    assert_eq!(pictures(&scene.bot.stage.asked()[0])[0].width, 5);
}

#[tokio::test]
async fn stalls_breaks_and_refusals_of_the_host_are_told() {
    let scene =
        Scene::with("[history]\nphotos_max = 1", |_| crate::scripted::Line::text("hello")).await;
    let mut notes = Vec::new();
    for fault in [DownloadFault::Stalled, DownloadFault::Truncated, DownloadFault::ServerError(503)]
    {
        scene.world.faults().downloads(1, fault);
        let reply = answer_to(&scene, Photo::png("cat.png", png(300, 200))).await;
        notes.push(note(&reply).to_owned());
    }
    insta::assert_snapshot!(notes.join("\n"), @"
    -# I couldn't look at a photo. Its download took too long. Please send it again.
    -# I couldn't look at a photo. Discord didn't hand it out. Please try again in a minute.
    -# I couldn't look at a photo. Discord didn't hand it out. Please try again in a minute.
    ");
}

#[tokio::test]
async fn nothing_is_fetched_from_other_hosts() {
    let scene = Scene::hello().await;
    let photo = Photo::png("cat.png", png(3, 3)).hosted_elsewhere();
    let reply = answer_to(&scene, photo).await;
    assert_eq!(
        note(&reply),
        wording::photo_not_seen(&shutterbug::discord::PhotoFault::ForeignHost)
    );
    assert!(scene.world.downloads().is_empty());
}

#[tokio::test]
async fn a_file_over_the_limit_is_not_fetched() {
    let settings = "[history]\nphotos_max = 1";
    let scene = Scene::with(settings, |_| crate::scripted::Line::text("hello")).await;
    let photo = Photo::png("huge.png", vec![0; (25 << 20) + 1]);
    let reply = answer_to(&scene, photo).await;
    assert!(note(&reply).contains("I take at most 26214400"), "{}", reply.content);
    assert!(scene.world.downloads().is_empty());
}

#[tokio::test]
async fn the_text_of_a_photo_that_is_not_looked_at_stays() {
    let settings = "[history]\nphotos_max = 1";
    let scene = Scene::with(settings, |_| crate::scripted::Line::text("hello")).await;
    scene.ann.says(&scene.channel, Photo::png("a.png", png(3, 3)).described("my red cat"));
    let question = scene.ann.says(&scene.channel, ("@bot see?", Photo::png("b.png", png(4, 4))));
    scene.world.wait_for_reply(&question).await;
    insta::assert_snapshot!(crate::scripted::told(&scene.bot.stage.asked()[0]), @r#"
    B: Photo { pixels: None, caption: Some("my red cat") }
    B: see?
    B: Photo { pixels: Some(Pixels(4x4)), caption: None }
    "#);
}

#[tokio::test]
async fn photos_beyond_the_limit_are_not_passed_over_in_silence() {
    let settings = "[history]\nphotos_max = 2";
    let scene = Scene::with(settings, |_| crate::scripted::Line::text("hello")).await;
    scene.ann.says(&scene.channel, Photo::png("older.png", png(9, 9)));
    let post = [3, 4, 5]
        .into_iter()
        .fold(Post::text("@bot see?"), |post, width| post.with(Photo::png("a.png", png(width, 3))));
    let question = scene.ann.says(&scene.channel, post);
    let reply = scene.world.wait_for_reply(&question).await;
    assert_eq!(note(&reply), wording::photos_left_out(2, 3));
    let asked = scene.bot.stage.asked();
    let seen: Vec<u32> = pictures(&asked[0]).iter().map(|picture| picture.width).collect();
    assert_eq!(seen, [3, 4], "the first ones of the message");
    assert_eq!(scene.world.downloads().len(), 2);
    // Older photos that are left out are nobody's surprise.
    let question = scene.ann.says(&scene.channel, "@bot and now?");
    assert_eq!(scene.world.wait_for_reply(&question).await.content, "hello");
}

/// The checksum of PNG files (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
