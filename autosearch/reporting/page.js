(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var places = Array.prototype.slice.call(document.querySelectorAll(".plot"));
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var printing = false;
  var PRINT_WIDTH = 690;

  function template() {
    var night = dark.matches && !printing;
    var ink = night ? "#d5dbe3" : "#26303c", grid = night ? "#2f3945" : "#e6eaee", zero = night ? "#46525f" : "#cfd6dd";
    var axis = { gridcolor: grid, zerolinecolor: zero, linecolor: zero, tickcolor: zero, automargin: true };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink },
        xaxis: axis, yaxis: axis, colorway: ["#2f7fc1", "#e08e0b", "#12a17a", "#b9669a", "#d5532c"],
        hoverlabel: { bgcolor: night ? "#26303c" : "#ffffff", bordercolor: zero, font: { color: ink } },
        legend: { bgcolor: "rgba(0,0,0,0)" },
        // Plotly takes it from the paper's colour, which is transparent here: a grey box where there is no hover.
        modebar: { bgcolor: "rgba(0,0,0,0)", color: zero, activecolor: ink }
      },
      data: { parcoords: [{ type: "parcoords", line: { colorbar: { outlinewidth: 0 } } }] }
    };
  }

  function draw(place) {
    var figure = figures[Number(place.dataset.figure)];
    var layout = Object.assign({}, figure.layout, { template: template(), autosize: true });
    if (printing) { layout.width = PRINT_WIDTH; layout.autosize = false; }
    place.dataset.drawn = "1";
    try {
      return window.Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: "hover",
        modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] });
    } catch (fault) {
      place.textContent = "This figure cannot be drawn here: " + fault;
      place.classList.add("failed-plot");
    }
  }

  var next = 0;
  function drawOn() {
    if (next < places.length) {
      if (!places[next].dataset.drawn) { draw(places[next]); }
      next += 1;
      window.setTimeout(drawOn, 0);
    } else {
      document.documentElement.dataset.ready = "1";
    }
  }

  function redraw() { places.forEach(draw); }
  dark.addEventListener("change", redraw);
  window.addEventListener("beforeprint", function () { printing = true; redraw(); });
  window.addEventListener("afterprint", function () { printing = false; redraw(); });
  if (window.matchMedia("print").matches) { printing = true; }
  drawOn();
})();
