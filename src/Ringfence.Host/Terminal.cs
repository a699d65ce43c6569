using System.Text;

namespace Ringfence.Host;

/// <summary>
/// Standard input and output as a serial line's other end. When standard input is a terminal it is raw while this object lives,
/// and Ctrl-A starts commands (<see cref="TerminalEscapeFilter"/>); otherwise every byte goes through as it is, and the end of the
/// input is not the end of anything.
/// </summary>
public sealed class Terminal : IDisposable
{
    private readonly TerminalRawMode? _raw;
    private readonly TerminalEscapeFilter? _filter;
    private readonly TerminalOutput _output;
    private readonly TerminalInput _input;
    private readonly Action<ReadOnlyMemory<byte>> _received;
    private readonly Action<TerminalKey> _commanded;
    private readonly byte[] _typed = new byte[4096];

    /// <param name="received">Called on the reader's thread with bytes for the guest, valid during the call. It may block to slow
    /// the input down; while it does, no command is seen.</param>
    /// <param name="commanded">Called on the reader's thread with commands, but for that for help. It must not block.</param>
    public Terminal(Action<ReadOnlyMemory<byte>> received, Action<TerminalKey> commanded)
    {
        _received = received;
        _commanded = commanded;
        _raw = TerminalRawMode.TryEnter(0);
        _filter = _raw is null ? null : new TerminalEscapeFilter();
        _output = new TerminalOutput(1);
        _input = new TerminalInput(0, Read);
    }

    /// <summary>Whether standard input is a terminal.</summary>
    public static bool IsAtHand => TerminalLibC.IsTerminal(0);

    /// <summary>Writes what the guest sends. Thread-safe.</summary>
    public void Write(ReadOnlySpan<byte> data) => _output.Write(data);

    /// <summary>Writes what is waiting, stops reading and restores the terminal.</summary>
    public void Dispose()
    {
        _input.Dispose();
        // Before the last write: a reader of our output who has stalled must not cost the user his terminal.
        _raw?.Dispose();
        _output.Dispose();
    }

    private void Read(ReadOnlyMemory<byte> data)
    {
        if (_filter is null)
        {
            _received(data);
            return;
        }
        int count = 0;
        foreach (byte typed in data.Span)
        {
            TerminalKey key = _filter.Next(typed);
            switch (key)
            {
                case TerminalKey.Pass:
                    _typed[count++] = typed;
                    break;
                case TerminalKey.Swallow:
                    break;
                case TerminalKey.Help:
                    _output.Write(Encoding.ASCII.GetBytes(TerminalEscapeFilter.Help));
                    break;
                default:
                    _commanded(key);
                    break;
            }
        }
        if (count > 0)
        {
            _received(_typed.AsMemory(0, count));
        }
    }
}
