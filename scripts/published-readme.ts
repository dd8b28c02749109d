/**
 * The README as a registry shows it, far from the repository's files: relative links name the repository at this version's tag,
 * or, while it has no address, are plain text, and pictures are left out. Comments for our own tools go.
 */
export function publishedReadme(readme: string, repositoryUrl: string, version: string): string {
  const text = readme.replaceAll(/^<!-- .* -->\n\n?/gm, '');
  if (repositoryUrl !== '') {
    return text.replaceAll(/(?<=\]\(|src="|srcset=")(?!https?:|#)([^)"\s]+)/g, (path) => {
      const kind = /\.(png|webp|svg|gif|jpe?g)$/.test(path) ? 'raw' : 'blob';
      return `${repositoryUrl}/${kind}/v${version}/${path}`;
    });
  }
  return text
    .replaceAll(/^<picture>\n[\s\S]*?^<\/picture>\n\n?/gm, '')
    .replaceAll(/^!\[[^\]]*\]\((?!https?:)[^)]+\)\n\n?/gm, '')
    .replaceAll(/(?<!!)\[((?:[^[\]]|\[[^\]]*\])*)\]\((?!https?:|#)[^)]+\)/g, '$1');
}
