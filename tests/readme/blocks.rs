//! The fenced blocks of a Markdown file.

/// One fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The text after the opening fence, up to the first comma or space.
    pub(crate) language: String,
    /// The line of the opening fence; the first line of the file is 1.
    pub(crate) line: usize,
    pub(crate) text: String,
}

pub(crate) fn parse(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let language = info.split([',', ' ']).next().unwrap_or_default().to_owned();
        let text = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text = text.flat_map(|line| [line, "\n"]).collect();
        blocks.push(Block { language, line: at + 1, text });
    }
    blocks
}
