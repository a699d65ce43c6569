namespace Ringfence.Machine;

/// <summary>A <see cref="MachineSpec"/> asks for what cannot be. The message is one line that names the thing and the reason.</summary>
public sealed class MachineSpecException : Exception
{
    public MachineSpecException()
    {
    }

    public MachineSpecException(string message)
        : base(message)
    {
    }

    public MachineSpecException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
