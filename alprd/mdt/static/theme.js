// Day and night, and how dim. The choice is a cookie, so that the server sends the page in the
// right theme and night never flashes white.
function keep(name, value) {
  document.documentElement.dataset[name] = value;
  document.cookie = `alprd_${name}=${value}; path=/; max-age=31536000; samesite=strict`;
}
for (const button of document.querySelectorAll("[data-theme-button]")) {
  button.addEventListener("click", () => {
    keep("theme", document.documentElement.dataset.theme === "day" ? "night" : "day");
  });
}
for (const button of document.querySelectorAll("[data-dim-button]")) {
  button.addEventListener("click", () => {
    keep("dim", String((Number(document.documentElement.dataset.dim) + 1) % 3));
  });
}
