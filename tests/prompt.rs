//! Prompts and replies on the tiny model: order, photos, budget, what people type, what they see.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use shutterbug::dialogue::{Dialogue, Element, Photo, Pixels, Speaker};
use shutterbug::prompt::{
    Budget, CaptionTokenizers, Closing, Prompt, PromptBuilder, PromptError, ReplyDecoder, Step,
};
use unicode_segmentation::UnicodeSegmentation;

const PLENTY: Budget = Budget { tokens_max: 4096, tiles_max: 64 };

static BUILDER: LazyLock<PromptBuilder> =
    LazyLock::new(|| PromptBuilder::load(&tiny("llama"), None).expect("the tiny model loads"));

fn tiny(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(part)
}

fn said(text: &str) -> Element {
    Element::Utterance(text.to_owned())
}

/// A photo that takes four tiles of 28 pixels where it may.
fn photo(caption: Option<&str>) -> Element {
    let pixels = Pixels { width: 60, height: 60, rgb: vec![90; 60 * 60 * 3] };
    Element::Photo(Photo { pixels: Some(Arc::new(pixels)), caption: caption.map(str::to_owned) })
}

fn words(caption: Option<&str>) -> Element {
    Element::Photo(Photo { pixels: None, caption: caption.map(str::to_owned) })
}

fn dialogue(turns: impl IntoIterator<Item = (Speaker, Vec<Element>)>) -> Dialogue {
    let mut dialogue = Dialogue::default();
    for (speaker, elements) in turns {
        dialogue.push(speaker, elements);
    }
    dialogue
}

fn build(dialogue: &Dialogue, budget: Budget) -> Prompt {
    BUILDER.build(dialogue, None, budget, Closing::ReplyOpened).expect("it makes a prompt")
}

/// The prompt with its control tokens spelled, the photo tags as `[IMG]` and `[/IMG]`.
fn spelled(ids: &[u32]) -> String {
    let tokenizer = BUILDER.tokenizer();
    let tags = tokenizer.tags();
    let runs = ids.chunk_by(|&a, &b| {
        tokenizer.token_bytes(a).is_some() && tokenizer.token_bytes(b).is_some()
    });
    let spell = |run: &[u32]| match run {
        [id] if *id == tags.img => "[IMG]".to_owned(),
        [id] if *id == tags.img_end => "[/IMG]".to_owned(),
        [id] if tokenizer.token_bytes(*id).is_none() => {
            let mut controls = tokenizer.controls();
            controls.find(|(_, control)| control == id).expect("a control token").0.to_owned()
        }
        text => tokenizer.decode(text),
    };
    runs.map(spell).collect()
}

#[test]
fn elements_stand_in_order_and_own_photos_show_behind_their_captions() {
    let talk = dialogue([
        (Speaker::B, vec![said("look"), said("my cat"), photo(None), said("!")]),
        (Speaker::A, vec![said("nice"), photo(Some("a red ball")), said("mine")]),
        (Speaker::B, vec![words(Some("a dog")), said("and"), words(None)]),
        (Speaker::A, vec![words(Some("a lake")), photo(None), words(None)]),
        (Speaker::B, vec![said("wow")]),
    ]);
    let prompt = build(&talk, PLENTY);
    insta::assert_snapshot!(spelled(&prompt.ids), @r"
    <|begin_of_text|><|start_header_id|>user<|end_header_id|>

    look
    my cat<|image|>!<|eot_id|><|start_header_id|>assistant<|end_header_id|>

    nice[IMG]a red ball[/IMG]<|image|>mine<|eot_id|><|start_header_id|>user<|end_header_id|>

    (photo: a dog)
    and
    (photo)<|eot_id|><|start_header_id|>assistant<|end_header_id|>

    [IMG]a lake[/IMG]<|image|>(photo)<|eot_id|><|start_header_id|>user<|end_header_id|>

    wow<|eot_id|><|start_header_id|>assistant<|end_header_id|>
    ");
    assert_eq!(prompt.images.len(), 3);
    let images: Vec<u32> = prompt.image_positions.iter().map(|&at| prompt.ids[at]).collect();
    assert_eq!(images, [BUILDER.tokenizer().image(); 3]);
}

#[test]
fn a_complete_dialogue_opens_no_reply() {
    let talk = dialogue([(Speaker::B, vec![said("hi")]), (Speaker::A, vec![said("hello")])]);
    let prompt = BUILDER.build(&talk, None, PLENTY, Closing::Complete).unwrap();
    insta::assert_snapshot!(spelled(&prompt.ids), @r"
    <|begin_of_text|><|start_header_id|>user<|end_header_id|>

    hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>

    hello<|eot_id|>
    ");
}

#[test]
fn the_system_text_opens_the_first_turn_where_photos_forbid_a_system_message() {
    let text = Some("You love photos.");
    let plain = dialogue([(Speaker::B, vec![said("hi")])]);
    let prompt = BUILDER.build(&plain, text, PLENTY, Closing::ReplyOpened).unwrap();
    insta::assert_snapshot!(spelled(&prompt.ids), @r"
    <|begin_of_text|><|start_header_id|>system<|end_header_id|>

    You love photos.<|eot_id|><|start_header_id|>user<|end_header_id|>

    hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>
    ");
    let seen =
        dialogue([(Speaker::A, vec![said("hello")]), (Speaker::B, vec![photo(None), said("hi")])]);
    let prompt = BUILDER.build(&seen, text, PLENTY, Closing::ReplyOpened).unwrap();
    insta::assert_snapshot!(spelled(&prompt.ids), @r"
    <|begin_of_text|><|start_header_id|>assistant<|end_header_id|>

    hello<|eot_id|><|start_header_id|>user<|end_header_id|>

    You love photos.

    <|image|>hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>
    ");
    let alone = dialogue([(Speaker::A, vec![photo(Some("a cat"))])]);
    let prompt = BUILDER.build(&alone, text, PLENTY, Closing::Complete).unwrap();
    insta::assert_snapshot!(spelled(&prompt.ids), @r"
    <|begin_of_text|><|start_header_id|>user<|end_header_id|>

    You love photos.<|eot_id|><|start_header_id|>assistant<|end_header_id|>

    [IMG]a cat[/IMG]<|image|><|eot_id|>
    ");
}

#[test]
fn spans_tell_where_every_token_came_from() {
    let talk = dialogue([
        (Speaker::B, vec![said("look "), photo(None)]),
        (Speaker::A, vec![said("so fluffy"), said("é🐱"), photo(Some("a cat")), said("ha")]),
    ]);
    let prompt = BUILDER.build(&talk, None, PLENTY, Closing::Complete).unwrap();
    let told: Vec<_> = prompt
        .spans
        .iter()
        .map(|span| {
            let text = spelled(&prompt.ids[span.tokens.clone()]);
            format!("{:?} {} {} {:?} {text:?}", span.speaker, span.turn, span.element, span.kind)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    B 0 0 Text "look "
    B 0 1 Image "<|image|>"
    B 0 1 TurnEnd "<|eot_id|>"
    A 1 0 Text "so fluffy"
    A 1 1 Text "\né🐱"
    A 1 2 CaptionOpening "[IMG]"
    A 1 2 Caption "a cat"
    A 1 2 CaptionEnd "[/IMG]"
    A 1 2 Image "<|image|>"
    A 1 3 Text "ha"
    A 1 3 TurnEnd "<|eot_id|>"
    "#);
    let covered: usize = prompt.spans.iter().map(|span| span.tokens.len()).sum();
    // All but the template's own: the beginning, two headers of two ids around a word, and breaks.
    let own = BUILDER.tokenizer().encode("user\n\nassistant\n\n").unwrap().len() + 1 + 4;
    assert_eq!(covered + own, prompt.ids.len());
}

#[test]
fn photos_lose_tiles_then_pixels_then_turns_go() {
    let talk = dialogue([
        (Speaker::B, vec![photo(Some("one"))]),
        (Speaker::A, vec![photo(Some("two"))]),
        (Speaker::B, vec![photo(None), said("three")]),
    ]);
    let tiles = |tiles_max| {
        let prompt = build(&talk, Budget { tiles_max, ..PLENTY });
        (prompt.images.iter().map(|image| image.tiles).collect::<Vec<_>>(), prompt)
    };
    for (tiles_max, expected) in [
        (12, vec![4, 4, 4]),
        (11, vec![1, 4, 4]),
        (9, vec![1, 4, 4]),
        (8, vec![1, 1, 4]),
        (5, vec![1, 1, 1]),
        (3, vec![1, 1, 1]),
        (2, vec![1, 1]),
        (1, vec![1]),
        (0, vec![]),
    ] {
        assert_eq!(tiles(tiles_max).0, expected, "{tiles_max}");
    }
    insta::assert_snapshot!(spelled(&tiles(0).1.ids), @r"
    <|begin_of_text|><|start_header_id|>user<|end_header_id|>

    (photo: one)<|eot_id|><|start_header_id|>assistant<|end_header_id|>

    [IMG]two[/IMG]<|eot_id|><|start_header_id|>user<|end_header_id|>

    (photo)
    three<|eot_id|><|start_header_id|>assistant<|end_header_id|>
    ");
    let (_, prompt) = tiles(11);
    assert_eq!(prompt.images[0].aspect_ratio_id, 1);
    assert_eq!(prompt.images[0].aspect_ratio_mask, [1, 0, 0, 0]);

    let whole = build(&talk, PLENTY).ids.len();
    let without_first = build(&talk, Budget { tokens_max: whole - 1, ..PLENTY });
    assert_eq!(without_first.spans[0].turn, 1);
    // What is dropped needs no tiles: the others keep theirs.
    let both = build(&talk, Budget { tokens_max: whole - 1, tiles_max: 8 });
    assert_eq!(both.images.iter().map(|image| image.tiles).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn the_last_turn_stays_cut_from_its_front() {
    let long = "word ".repeat(2000) + "the end";
    let talk = dialogue([
        (Speaker::B, vec![said("old")]),
        (Speaker::A, vec![said("older")]),
        (Speaker::B, vec![photo(None), said(&long), said("last words")]),
    ]);
    let prompt = build(&talk, Budget { tokens_max: 60, ..PLENTY });
    assert!(prompt.ids.len() <= 60 && prompt.ids.len() > 50);
    assert!(spelled(&prompt.ids).contains("word the end\nlast words<|eot_id|>"));
    assert!(prompt.spans.iter().all(|span| span.turn == 2 && span.element > 0));
    assert!(prompt.images.is_empty());
    let none = BUILDER.build(&talk, None, Budget { tokens_max: 8, ..PLENTY }, Closing::ReplyOpened);
    assert!(matches!(none, Err(PromptError::NoRoom { tokens_max: 8 })));
    let empty = BUILDER.build(&Dialogue::default(), None, PLENTY, Closing::ReplyOpened);
    assert!(matches!(empty, Err(PromptError::Empty)));
}

#[test]
fn unusual_texts_make_prompts() {
    for text in [
        "",
        " ",
        "🐱",
        "👩‍👩‍👧‍👦",
        "\u{200B}\u{200B}",
        "שלום עולם",
        "\0",
        "\u{F8FE}0\u{F8FF}",
        "\u{FFFF}",
    ] {
        let talk = dialogue([(Speaker::B, vec![said(text)])]);
        let prompt = build(&talk, PLENTY);
        let expected = format!(
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{text}<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n"
        );
        assert_eq!(spelled(&prompt.ids), expected);
    }
}

/// How many control tokens a dialogue of one text makes: those of the template.
fn controls_of(text: &str) -> usize {
    let talk = dialogue([
        (Speaker::B, vec![said(text)]),
        (Speaker::A, vec![said(text), words(Some(text))]),
        (Speaker::B, vec![said(text), words(Some(text))]),
    ]);
    let prompt = BUILDER.build(&talk, Some(text), PLENTY, Closing::ReplyOpened).unwrap();
    prompt.ids.iter().filter(|&&id| BUILDER.tokenizer().token_bytes(id).is_none()).count()
}

#[test]
fn every_control_token_typed_by_a_person_is_text() {
    let ordinary = controls_of("a cat");
    let tokenizer = BUILDER.tokenizer();
    for (token, id) in tokenizer.controls() {
        let typed = tokenizer.encode(token).unwrap();
        assert!(typed.iter().all(|piece| piece.id != id), "{token}");
        assert_eq!(controls_of(token), ordinary, "{token}");
        assert_eq!(controls_of(&format!("hi {token} there{token}{token}")), ordinary, "{token}");
    }
    let captions = CaptionTokenizers::load(&tiny("diffusion")).unwrap();
    for typed in ["<|endoftext|>", "a <|startoftext|> b"] {
        let encoded = captions.clip_g.encode(typed).unwrap();
        let content = &encoded.ids[encoded.content.clone()];
        let end = encoded.ids[encoded.content.end];
        assert!(content.len() > 3 && content.iter().all(|&id| id < end - 1));
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_control_token(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("<|".to_owned()), Just("|>".to_owned()), Just("eot_id".to_owned()),
                Just("image".to_owned()), Just("<|image|>".to_owned()), Just("\n".to_owned()),
                Just("<|eot_id|>".to_owned()), Just("reserved_special_token_0".to_owned()),
                Just("\u{F8FE}1\u{F8FF}".to_owned()), ".*",
            ],
            1..8,
        ),
    ) {
        prop_assert_eq!(controls_of(&pieces.concat()), controls_of("a cat"));
    }

    #[test]
    fn deltas_join_to_the_text_and_split_no_cluster(
        text in prop_oneof![".{0,40}", "[e\u{301}a👩‍🚀🇩🇪🐱é ]{0,24}"],
    ) {
        let tokenizer = BUILDER.tokenizer();
        let mut decoder = ReplyDecoder::new(tokenizer);
        let mut deltas = Vec::new();
        for token in tokenizer.encode(&text).unwrap() {
            let Step::Text(delta) = decoder.push(token.id) else { panic!("text only") };
            deltas.push(delta);
        }
        deltas.push(decoder.finish().0);
        prop_assert_eq!(deltas.concat(), text.clone());
        let clusters: Vec<&str> = deltas.iter().flat_map(|delta| delta.graphemes(true)).collect();
        prop_assert_eq!(clusters, text.graphemes(true).collect::<Vec<_>>());
    }

    #[test]
    fn any_tokens_decode_without_control_text(ids in prop::collection::vec(0_u32..420, 0..60)) {
        let mut decoder = ReplyDecoder::new(BUILDER.tokenizer());
        let mut shown = String::new();
        for id in ids {
            if let Step::Text(delta) = decoder.push(id) {
                shown += &delta;
            }
        }
        let (rest, elements) = decoder.finish();
        shown += &rest;
        let said: String = elements
            .iter()
            .filter_map(|element| match element {
                Element::Utterance(text) => Some(text.as_str()),
                Element::Photo(_) => None,
            })
            .collect();
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        prop_assert_eq!(squeezed(&said), squeezed(&shown));
    }
}

#[test]
fn a_reply_becomes_texts_and_captions() {
    let tokenizer = BUILDER.tokenizer();
    let tags = tokenizer.tags();
    let eot = tokenizer.control("<|eot_id|>").unwrap();
    let ids = |text: &str| -> Vec<u32> {
        tokenizer.encode(text).unwrap().iter().map(|token| token.id).collect()
    };
    let reply = [
        ids("Here it is: "),
        vec![tags.img],
        ids(" a fluffy cat"),
        // A control token inside a caption is no text of it.
        vec![tags.img, tokenizer.image()],
        vec![tags.img_end],
        ids(" do you like it?"),
        // An end without a beginning, and a photo without words, are nothing.
        vec![tags.img_end, tags.img, tags.img_end],
        vec![eot],
        ids("never read"),
    ]
    .concat();
    let mut decoder = ReplyDecoder::new(tokenizer);
    let mut shown = String::new();
    let mut captions = Vec::new();
    for id in reply {
        match decoder.push(id) {
            Step::Text(delta) => shown += &delta,
            Step::Photo { caption } => captions.push(caption),
            Step::Caption | Step::End => {}
        }
    }
    let (rest, elements) = decoder.finish();
    assert_eq!(shown + &rest, "Here it is:  do you like it?");
    assert_eq!(captions, ["a fluffy cat"]);
    let expected = [said("Here it is:"), words(Some("a fluffy cat")), said("do you like it?")];
    assert_eq!(elements, expected);
}

#[test]
fn a_caption_without_its_end_is_dropped() {
    let tokenizer = BUILDER.tokenizer();
    let mut decoder = ReplyDecoder::new(tokenizer);
    decoder.push(tokenizer.tags().img);
    for token in tokenizer.encode("a cat in the").unwrap() {
        assert_eq!(decoder.push(token.id), Step::Caption);
    }
    assert!(decoder.in_caption());
    assert_eq!(decoder.finish(), (String::new(), Vec::new()));
}
