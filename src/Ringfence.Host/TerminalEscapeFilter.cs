namespace Ringfence.Host;

/// <summary>What becomes of a byte that was typed.</summary>
public enum TerminalKey
{
    /// <summary>It goes to the guest.</summary>
    Pass,
    /// <summary>It goes nowhere: it is the prefix, or an unknown command after it.</summary>
    Swallow,
    /// <summary>Ctrl-A X: the user wants to leave.</summary>
    Leave,
    /// <summary>Ctrl-A H: the user wants to know the commands.</summary>
    Help,
    /// <summary>Ctrl-A E: the user wants the guest on another engine.</summary>
    Engine,
}

/// <summary>Finds the commands in what is typed, with QEMU's habits: Ctrl-A X leaves, Ctrl-A H helps, Ctrl-A Ctrl-A is one Ctrl-A for
/// the guest, Ctrl-A E (which QEMU has not) changes the engine, and anything else after Ctrl-A is ignored. Not thread-safe.</summary>
public sealed class TerminalEscapeFilter
{
    /// <summary>Ctrl-A.</summary>
    public const byte Prefix = 1;

    /// <summary>The commands, for people; lines end as a raw terminal needs it.</summary>
    public const string Help = "\r\nCtrl-A X    leave\r\nCtrl-A E    move the guest to the next engine\r\nCtrl-A H    this help\r\nCtrl-A Ctrl-A    send Ctrl-A\r\n";

    private bool _prefixed;

    /// <summary>Takes the next byte typed. The prefix may be in one read and the command in the next.</summary>
    public TerminalKey Next(byte typed)
    {
        if (!_prefixed)
        {
            _prefixed = typed == Prefix;
            return _prefixed ? TerminalKey.Swallow : TerminalKey.Pass;
        }
        _prefixed = false;
        return typed switch
        {
            Prefix => TerminalKey.Pass,
            (byte)'x' or (byte)'X' => TerminalKey.Leave,
            (byte)'h' or (byte)'H' or (byte)'?' => TerminalKey.Help,
            (byte)'e' or (byte)'E' => TerminalKey.Engine,
            _ => TerminalKey.Swallow,
        };
    }
}
