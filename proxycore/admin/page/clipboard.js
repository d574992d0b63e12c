/** Copies a text; a page that was not loaded over HTTPS has no clipboard, so a selection is copied there. */
export async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not allowed: try the other way */ }
  }
  const field = document.createElement("textarea"), focused = document.activeElement;
  field.className = "unseen";
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}
