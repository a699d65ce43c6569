using System.Runtime.InteropServices;

namespace Ringfence.Host;

/// <summary>
/// Puts a terminal into raw mode and back: every key reaches the reader as it is, nothing is echoed, Ctrl-C is a byte.
/// Output processing stays on, so that other writers' lines still end properly. The modes found are restored by
/// <see cref="Dispose"/> and when the process exits, whichever is first; a stopped process that is continued goes raw again.
/// </summary>
/// <remarks>System.Console must not be used for the first time while the terminal is raw: it would remember the raw modes and
/// put them back at exit. Thread-safe.</remarks>
public sealed class TerminalRawMode : IDisposable
{
    // termios(3), Linux's generic values.
    private const uint InputCooking = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400; // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
    private const uint LocalCooking = 0x1 | 0x2 | 0x8 | 0x40 | 0x8000; // ISIG ICANON ECHO ECHONL IEXTEN
    private const uint CharacterSize = 0x30;
    private const uint EightBits = 0x30;
    private const uint Parity = 0x100;
    private const int MinimumIndex = 6;
    private const int TimeIndex = 5;

    private readonly object _lock = new();
    private readonly int _descriptor;
    private readonly TerminalLibC.Modes _found;
    private readonly TerminalLibC.Modes _raw;
    private readonly EventHandler _exiting;
    private readonly PosixSignalRegistration? _continued;
    private bool _restored;

    private unsafe TerminalRawMode(int descriptor, TerminalLibC.Modes found)
    {
        _descriptor = descriptor;
        _found = found;
        _raw = found;
        _raw.Input &= ~InputCooking;
        _raw.Local &= ~LocalCooking;
        _raw.Control = (_raw.Control & ~(CharacterSize | Parity)) | EightBits;
        _raw.Characters[MinimumIndex] = 1;
        _raw.Characters[TimeIndex] = 0;
        _exiting = (_, _) => Restore();
        AppDomain.CurrentDomain.ProcessExit += _exiting;
        // A shell that stopped us has put its own modes on the terminal meanwhile.
        _continued = OperatingSystem.IsWindows() ? null : PosixSignalRegistration.Create(PosixSignal.SIGCONT, _ => Enter());
        Enter();
    }

    /// <summary>Makes the terminal raw, or returns null when the descriptor is no terminal.</summary>
    /// <param name="descriptor">An open file descriptor; 0 is standard input.</param>
    public static TerminalRawMode? TryEnter(int descriptor) =>
        TerminalLibC.IsTerminal(descriptor) && TerminalLibC.TryGetModes(descriptor, out TerminalLibC.Modes found)
            ? new TerminalRawMode(descriptor, found)
            : null;

    /// <summary>Restores the modes found. Does nothing the second time.</summary>
    public void Dispose()
    {
        Restore();
        AppDomain.CurrentDomain.ProcessExit -= _exiting;
        _continued?.Dispose();
    }

    private void Enter()
    {
        lock (_lock)
        {
            if (!_restored)
            {
                _ = TerminalLibC.TrySetModes(_descriptor, in _raw);
            }
        }
    }

    private void Restore()
    {
        lock (_lock)
        {
            if (!_restored)
            {
                _restored = true;
                _ = TerminalLibC.TrySetModes(_descriptor, in _found);
            }
        }
    }
}
