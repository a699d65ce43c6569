using Ringfence.Cli;

return new CommandLine(options => RunCommand.Run(options)).Invoke(args, Console.Out, Console.Error);
