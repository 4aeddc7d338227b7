// Uploads: the file is the body, everything else is in the address.
function startUploads() {
  for (const form of document.querySelectorAll("form[data-upload]")) {
    const button = form.querySelector("button");
    const state = form.querySelector(".upload-state");
    const name = form.elements.name;
    button.disabled = false;
    form.elements.file.addEventListener("change", () => {
      const file = form.elements.file.files[0];
      if (file && !name.value) name.value = file.name.toLowerCase().replace(/\.[^.]*$/, "").replace(/[^a-z0-9._-]+/g, "-");
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const limit = Number(form.dataset.limit);
      if (form.elements.file.files[0].size > limit) {
        state.className = "upload-state bad";
        state.textContent = `The file is over the limit of ${limit / 1024 / 1024} MB.`;
        return;
      }
      const query = new URLSearchParams();
      for (const [key, value] of new FormData(form)) if (typeof value === "string") query.set(key, value);
      button.disabled = true;
      state.className = "upload-state";
      state.textContent = "Working; a model is compiled and evaluated on the whole dataset…";
      try {
        const response = await fetch(`${form.dataset.upload}?${query}`, {
          method: "POST", body: form.elements.file.files[0],
          headers: { Accept: "application/json", "Content-Type": "application/octet-stream" },
        });
        if (response.status === 401) { location.reload(); return; }
        const answer = await response.json();
        if (response.ok) { location.assign(answer.next); return; }
        state.textContent = answer.message;
      } catch {
        state.textContent = "The dashboard does not answer. Try again.";
      }
      state.className = "upload-state bad";
      button.disabled = false;
    });
  }
}
