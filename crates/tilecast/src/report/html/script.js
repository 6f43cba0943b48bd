for (const view of document.querySelectorAll('.compare')) {
  const slider = view.querySelector('input');
  const frame = view.querySelector('.frame');
  const show = () => {
    frame.style.setProperty('--split', slider.value + '%');
    slider.setAttribute('aria-valuetext', slider.value + ' % ' + slider.dataset.left + ', the rest ' + slider.dataset.right);
  };
  const follow = (event) => {
    const box = frame.getBoundingClientRect();
    slider.value = Math.round(100 * (event.clientX - box.left) / box.width);
    show();
  };
  slider.addEventListener('input', show);
  frame.addEventListener('pointerdown', (event) => { frame.setPointerCapture(event.pointerId); follow(event); });
  frame.addEventListener('pointermove', (event) => { if (event.buttons) follow(event); });
  show();
}
