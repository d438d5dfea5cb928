//! PhotoChat's dialogues through prompt assembly: a small sample of the same form here, the real
//! ones where `make conformance` says where they lie.

use std::fs;
use std::path::{Path, PathBuf};

use shutterbug::data::{Example, ExampleElement, PhotoFolder, Picture, read_photochat};
use shutterbug::dialogue::{Dialogue, Element, Pixels, Speaker, Turn};
use shutterbug::prompt::{Budget, Closing, Prompt, PromptBuilder, SpanKind};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<Example> {
    let folder = std::env::var_os("SHUTTERBUG_PHOTOCHAT")
        .map_or_else(|| root().join("tests/fixtures/photochat"), PathBuf::from);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no JSON file", folder.display());
    let examples: Vec<Example> = files.iter().flat_map(|file| read(file)).collect();
    println!("{} dialogues from {}", examples.len(), folder.display());
    examples
}

fn read(file: &Path) -> Vec<Example> {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let mut examples = Vec::new();
    let reader = fs::File::open(file).unwrap();
    let take = |example: Result<Example, _>| examples.push(example.unwrap());
    read_photochat(reader, stem, &PhotoFolder::new(None), take).unwrap();
    examples
}

fn dialogues() -> Vec<Dialogue> {
    let nowhere = |_: &Path| Err::<Pixels, _>("there are no photos");
    examples().iter().map(|example| example.dialogue(nowhere).unwrap()).collect()
}

/// Every context that ends with B's turn, as the bot would meet them one after another.
fn contexts(dialogue: &Dialogue) -> Vec<Vec<Turn>> {
    let turns = dialogue.turns();
    (1..=turns.len())
        .filter(|&end| turns[end - 1].speaker == Speaker::B)
        .map(|end| turns[..end].to_vec())
        .collect()
}

fn builder() -> PromptBuilder {
    PromptBuilder::load(&root().join("tests/fixtures/tiny/llama"), None).unwrap()
}

fn build(builder: &PromptBuilder, turns: &[Turn], budget: Budget) -> Prompt {
    let dialogue: Dialogue = turns.iter().cloned().collect();
    builder.build(&dialogue, None, budget, Closing::ReplyOpened).unwrap()
}

/// The words that the prompt holds of one turn, control tokens left out.
fn words(builder: &PromptBuilder, prompt: &Prompt, turn: usize) -> String {
    let mut words = String::new();
    for span in &prompt.spans {
        if span.turn == turn && matches!(span.kind, SpanKind::Text | SpanKind::Caption) {
            words += &builder.tokenizer().decode(&prompt.ids[span.tokens.clone()]);
        }
    }
    words
}

#[test]
fn nothing_that_was_said_is_lost_and_nobody_types_a_control_token() {
    let builder = builder();
    let budget = Budget { tokens_max: 100_000, tiles_max: 32 };
    let controls: Vec<u32> = builder.tokenizer().controls().map(|(_, id)| id).collect();
    for dialogue in dialogues() {
        for turns in contexts(&dialogue) {
            let prompt = build(&builder, &turns, budget);
            for (index, turn) in turns.iter().enumerate() {
                let words = words(&builder, &prompt, index);
                for element in &turn.elements {
                    let text = match element {
                        Element::Utterance(text) => text,
                        Element::Photo(photo) => photo.caption.as_ref().unwrap(),
                    };
                    assert!(words.contains(text.trim()), "{text:?} is not in {words:?}");
                }
            }
            for span in prompt.spans.iter().filter(|span| span.kind == SpanKind::Text) {
                let tokens = &prompt.ids[span.tokens.clone()];
                assert!(tokens.iter().all(|id| !controls.contains(id)), "{span:?}");
            }
            // One header and one end a turn, and the header of the reply.
            let count = |name: &str| {
                let control = builder.tokenizer().control(name).unwrap();
                prompt.ids.iter().filter(|&&id| id == control).count()
            };
            assert_eq!(count("<|eot_id|>"), turns.len());
            assert_eq!(count("<|start_header_id|>"), turns.len() + 1);
        }
    }
}

#[test]
fn a_small_budget_keeps_the_newest_turns() {
    let builder = builder();
    for dialogue in dialogues() {
        for turns in contexts(&dialogue) {
            let whole = build(&builder, &turns, Budget { tokens_max: 100_000, tiles_max: 0 });
            let budget = Budget { tokens_max: (whole.ids.len() / 2).max(24), tiles_max: 0 };
            let cut = build(&builder, &turns, budget);
            assert!(cut.ids.len() <= budget.tokens_max);
            let last = turns.len() - 1;
            let first = cut.spans.iter().map(|span| span.turn).min().unwrap();
            for kept in first + 1..=last {
                assert_eq!(words(&builder, &cut, kept), words(&builder, &whole, kept));
            }
            let whole = words(&builder, &whole, last);
            let kept = words(&builder, &cut, last);
            assert!(!kept.is_empty() && whole.ends_with(&kept), "{kept:?} of {whole:?}");
        }
    }
}

#[test]
fn the_sample_is_the_real_form() {
    let examples = read(&root().join("tests/fixtures/photochat/sample.json"));
    assert_eq!(examples[0].persona.as_deref(), Some("The photo has your sister Mara."));
    let id = |example: &Example| example.photos().next().unwrap().2.photo_id.clone();
    assert_eq!((id(&examples[0]).as_deref(), id(&examples[1]).as_deref()), (Some("17"), None));
}

#[test]
fn every_dialogue_is_imported_with_all_that_it_says() {
    let mut ids = std::collections::HashSet::new();
    for example in examples() {
        assert!(ids.insert(example.id.clone()), "{} twice", example.id);
        let mut photos = 0;
        for (turn, speaker, photo) in example.photos() {
            photos += 1;
            assert_eq!(speaker, Speaker::A, "{} turn {turn}", example.id);
            assert_eq!(photo.picture, Picture::Missing);
            let caption = photo.caption.as_deref().unwrap();
            assert!(caption.starts_with("Objects in the photo: "), "{caption}");
            assert!(photo.photo_url.as_deref().unwrap().starts_with("https://"));
        }
        assert_eq!(photos, 1, "{}", example.id);
        let said = |element: &ExampleElement| match element {
            ExampleElement::Utterance(text) => !text.is_empty(),
            ExampleElement::Photo(_) => true,
        };
        assert!(example.turns().iter().flat_map(|turn| &turn.elements).all(said));
    }
}
