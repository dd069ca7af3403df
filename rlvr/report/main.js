// Starts the page: theme, curves, browser. A part that fails says so where it would stand, and the others go on.

function failing(where, start) {
  Promise.resolve().then(start).catch((error) => {
    byId(where).append(element("p", { class: "finding", role: "alert" }, `This part could not be shown: ${error.message}`));
  });
}

let redrawCurves = () => {};
setUpTheme(() => redrawCurves());

failing("curves", async () => {
  const data = await unpackJson("data");
  const curves = new Curves(data);
  const times = new TimeSplit(data);
  curves.setUp();
  times.setUp();
  redrawCurves = () => { curves.redraw(); times.draw(); };
});

failing("rollouts", async () => {
  if (!byId("filters")) return;
  const browser = new Browser(await unpackJson("index"));
  await browser.setUp();
  setUpGroup();
  document.documentElement.dataset.ready = "rollouts";
});
