// Day and night. The choice is a cookie, so that the server sends the page in the right theme
// and night never flashes white.
for (const button of document.querySelectorAll("[data-theme-button]")) {
  button.addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "day" ? "night" : "day";
    document.documentElement.dataset.theme = theme;
    document.cookie = `alprd_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
  });
}
