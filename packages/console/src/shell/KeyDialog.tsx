import { type FormEvent, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { keyStore, type Wanted } from '../api/key';

const WHY: Record<Wanted['reason'], string> = {
  missing: 'This server answers to keys only.',
  refused: 'The server does not know this key, or it is no longer valid.',
  'not enough': 'This key may not do that.',
};

/** Asks for an API key when the server wants one. It is kept in this tab alone. */
export function KeyDialog() {
  const wanted = useSyncExternalStore(keyStore.subscribe, keyStore.wanted);
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState('');

  useEffect(() => {
    if (wanted !== null && dialog.current?.open === false) dialog.current.showModal();
    if (wanted === null && dialog.current?.open === true) dialog.current.close();
  }, [wanted]);

  const use = (event: FormEvent): void => {
    event.preventDefault();
    if (text.trim() === '') return;
    keyStore.set(text.trim());
    setText('');
  };
  return (
    <dialog ref={dialog} className="key-dialog" aria-labelledby="key-title" onClose={() => keyStore.dismiss()}>
      <form onSubmit={use}>
        <h2 id="key-title">{wanted?.reason === 'not enough' ? 'Another key is needed' : 'A key is needed'}</h2>
        <p className="quiet">
          {wanted === null ? '' : WHY[wanted.reason]}
          {wanted?.reason === 'not enough' ? ` A key with the scope “${wanted.scope}” may.` : ''} It stays in this tab
          and is sent to this server alone.
        </p>
        <div className="field">
          <label className="label" htmlFor="key-text">
            API key
          </label>
          <input
            id="key-text"
            className="input"
            type="password"
            autoComplete="off"
            spellCheck={false}
            value={text}
            onChange={(event) => setText(event.target.value)}
          />
        </div>
        <div className="row key-actions">
          <button type="button" className="button" onClick={() => keyStore.dismiss()}>
            Not now
          </button>
          <button type="submit" className="button first" disabled={text.trim() === ''}>
            Use this key
          </button>
        </div>
      </form>
    </dialog>
  );
}
