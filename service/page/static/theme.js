// Sets the chosen theme before anything is painted; without a choice the system's holds.
(() => {
  try {
    const chosen = localStorage.getItem("callscope-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden; the system's theme holds then.
  }
})();
