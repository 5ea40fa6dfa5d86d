/* Says when the program that the page shows the results of has ended.
   A new layout makes the page run its scripts again. */
if (!window.isWatching) {
  window.isWatching = true;
  setInterval(async () => {
    const isThere = await fetch("index.html", { method: "HEAD", cache: "no-store" })
      .then((answer) => answer.ok, () => false);
    const note = document.getElementById("gone");
    if (isThere && note) {
      note.remove();
    } else if (!isThere && !note) {
      const made = Object.assign(document.createElement("div"), { id: "gone" });
      made.setAttribute("role", "alert");
      made.textContent = "The viewer has ended; controls do nothing. Run monai-inn view again.";
      document.body.append(made);
    }
  }, 2000);
}
